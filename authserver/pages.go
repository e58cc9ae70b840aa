package authserver

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"net/http"
)

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed pages/style.css
var pageStyle string

// submitScript sends the only form of a page.
const submitScript = "document.forms[0].submit()"

// pageTemplates are the pages of a server without branding. They are not executed themselves, only their copies.
var pageTemplates = template.Must(template.New("").Funcs(template.FuncMap{
	"style":  func() template.CSS { return template.CSS(pageStyle) }, //nolint:gosec // it is embedded
	"script": func() template.JS { return submitScript },
	"brand":  func() brand { return brand{} },
}).ParseFS(pageFiles, "pages/*.html"))

// pages are what people see of a server.
type pages struct {
	templates *template.Template
	// policy allows the style of the pages, the logo, and nothing else. It has no form-action, which browsers would
	// apply to the redirect to the client, too.
	policy string
}

func newPages(branding Branding) (*pages, error) {
	shown, err := branding.brand()
	if err != nil {
		return nil, err
	}
	templates, err := pageTemplates.Clone()
	if err != nil {
		return nil, err
	}
	p := &pages{
		templates: templates.Funcs(template.FuncMap{"brand": func() brand { return shown }}),
		policy:    "default-src 'none'; style-src '" + inlineHash(pageStyle) + "'; base-uri 'none'; frame-ancestors 'none'",
	}
	if shown.Logo != "" {
		p.policy += "; img-src data:"
	}
	return p, nil
}

// inlineHash names the content of an element in a content security policy.
func inlineHash(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func (s *Server) writePage(w http.ResponseWriter, status int, name string, data any) {
	s.writePageUnder(w, s.pages.policy, status, name, data)
}

// writePageUnder writes a page under a content security policy, whatever the site has for its own pages.
func (s *Server) writePageUnder(w http.ResponseWriter, policy string, status int, name string, data any) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Frame-Options", "DENY")
	header.Set("X-Content-Type-Options", "nosniff")
	// With no-referrer, browsers would send the forms with the origin null.
	header.Set("Referrer-Policy", "same-origin")
	header.Set("Content-Type", "text/html; charset=utf-8")
	noStore(header)
	var page bytes.Buffer
	if err := s.pages.templates.ExecuteTemplate(&page, name, data); err != nil {
		panic(err) // the templates and what they show are the program's own
	}
	w.WriteHeader(status)
	_, _ = page.WriteTo(w) // the client hung up
}

func (s *Server) writeErrorPage(w http.ResponseWriter, err *pageError) {
	s.writePage(w, err.status, "error.html", err.message)
}

type formPostPage struct {
	Action     template.URL
	Parameters []parameter
}

// writeFormPost has the browser send an authorization response in the body of a POST request (OAuth 2.0 Form Post
// Response Mode): at once, or where there are no scripts when the user says so.
func (s *Server) writeFormPost(w http.ResponseWriter, redirectURI string, parameters []parameter) {
	policy := s.pages.policy + "; script-src '" + inlineHash(submitScript) + "'"
	action := template.URL(redirectURI) //nolint:gosec // it is registered for a client, and its scheme was judged
	s.writePageUnder(w, policy, http.StatusOK, "form_post.html", formPostPage{action, parameters})
}
