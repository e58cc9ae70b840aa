package testgateway

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// What tests send and what gateways are configured with is overheard, so that no test has to say what in it is secret.
// A token in a query is not: where that is no place for tokens, it is no secret.

// secretMembers are the parameters of OAuth requests, and the members of responses, whose values are secrets.
var secretMembers = []string{
	"token", "access_token", "refresh_token", "id_token", "code", "password", "assertion", "subject_token",
	"client_secret", "client_assertion",
}

// unmistakable tells whether a text that stands in a log can only be the secret. Short texts, plain words and
// placeholders may stand there for other reasons.
func unmistakable(text string) bool {
	return len(text) >= 8 && text[0] != '{' && strings.Trim(text, "abcdefghijklmnopqrstuvwxyz") != ""
}

// overhear adds those of the texts that are unmistakable.
func (g *guard) overhear(texts ...string) {
	for _, text := range texts {
		if unmistakable(text) {
			g.add(text)
		}
	}
}

// overhearRequest adds the credentials in the header and the form of a request.
func (g *guard) overhearRequest(header http.Header, body string) {
	for _, name := range []string{"Authorization", "Proxy-Authorization"} {
		for _, line := range header[name] {
			g.overhearCredentials(line)
		}
	}
	for _, cookie := range (&http.Request{Header: header}).Cookies() {
		g.overhear(cookie.Value)
	}
	if !strings.HasPrefix(header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return
	}
	form, _ := url.ParseQuery(body) // what can be read of it
	for _, name := range secretMembers {
		for _, value := range form[name] {
			g.overhear(value, url.QueryEscape(value))
		}
	}
}

// overhearCredentials adds the credentials of an Authorization line, well-formed or not: all of them, and every part.
func (g *guard) overhearCredentials(line string) {
	scheme, credentials, _ := strings.Cut(strings.TrimSpace(line), " ")
	credentials = strings.TrimSpace(credentials)
	g.overhear(credentials)
	g.overhear(strings.FieldsFunc(credentials, func(r rune) bool { return strings.ContainsRune(" ,\"\t\r\n", r) })...)
	if !strings.EqualFold(scheme, "Basic") {
		return
	}
	if decoded, err := base64.StdEncoding.DecodeString(credentials); err == nil {
		_, secret, _ := strings.Cut(string(decoded), ":")
		g.overhear(secret)
		if unescaped, err := url.QueryUnescape(secret); err == nil {
			g.overhear(unescaped)
		}
	}
}

// overhearReply adds the tokens that a response hands out.
func (g *guard) overhearReply(body string) {
	var members map[string]any
	if json.Unmarshal([]byte(body), &members) != nil {
		return
	}
	for _, name := range secretMembers {
		if value, ok := members[name].(string); ok {
			g.overhear(value)
		}
	}
}

// overhearCaddyfile adds the secrets that a Caddyfile holds, or names as a variable of the given environment
// (NAME=value) or as a file.
func (g *guard) overhearCaddyfile(text string, environment []string) {
	tokens, err := caddyfile.Tokenize([]byte(text), "Caddyfile")
	if err != nil {
		return // the program refuses it, too
	}
	var lines [][]string
	for i, token := range tokens {
		if i == 0 || token.Line != tokens[i-1].Line {
			lines = append(lines, nil)
		}
		last := len(lines) - 1
		lines[last] = append(lines[last], resolve(token.Text, environment))
	}
	for _, line := range lines {
		at := func(i int) string {
			if i < len(line) {
				return line[i]
			}
			return ""
		}
		switch line[0] {
		case "client":
			g.overhearClient(at(1), at(2))
		case "bearer":
			g.overhear(at(1))
		case "endpoint_param":
			g.overhear(at(2))
		case "introspect": // <issuer_url> <client_id> <client_secret>
			for i, word := range line {
				if strings.Contains(word, "://") {
					g.overhearClient(at(i+1), at(i+2))
				}
			}
		}
	}
}

func (g *guard) overhearClient(id, secret string) {
	if unmistakable(secret) {
		g.addClient(id, secret)
	}
}

var (
	variable = regexp.MustCompile(`\{(?:env\.|\$)(\w+)(?::([^}]*))?\}`)
	file     = regexp.MustCompile(`^\{file\.(.+)\}$`)
)

// resolve replaces the variables in a word of a Caddyfile. A word that cannot be resolved is empty.
func resolve(word string, environment []string) string {
	if m := file.FindStringSubmatch(word); m != nil {
		content, _ := os.ReadFile(m[1]) // empty if there is none
		return strings.TrimRight(string(content), "\r\n")
	}
	unset := false
	word = variable.ReplaceAllStringFunc(word, func(placeholder string) string {
		m := variable.FindStringSubmatch(placeholder)
		for _, set := range environment {
			if value, ok := strings.CutPrefix(set, m[1]+"="); ok {
				return value
			}
		}
		unset = unset || m[2] == ""
		return m[2]
	})
	if unset {
		return ""
	}
	return word
}

// debugging turns a Caddyfile into one whose program logs all that it ever logs.
func debugging(text string) string {
	tokens, err := caddyfile.Tokenize([]byte(text), "Caddyfile")
	if err != nil || len(tokens) == 0 || tokens[0].Text != "{" {
		return "{\n\tdebug\n}\n" + text
	}
	lines := strings.SplitAfter(text, "\n")
	opening := tokens[0].Line
	return strings.Join(lines[:opening], "") + "\tdebug\n" + strings.Join(lines[opening:], "")
}

// overhearSent adds the credentials in a request that is about to be sent.
func (g *guard) overhearSent(request *http.Request) {
	body := ""
	if request.GetBody != nil {
		if again, err := request.GetBody(); err == nil {
			content, _ := io.ReadAll(again) // what can be read of it
			body = string(content)
		}
	}
	g.overhearRequest(request.Header, body)
}
