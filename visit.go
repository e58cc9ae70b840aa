package portcullis

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/portcullis-gateway/portcullis/authority"
	"github.com/portcullis-gateway/portcullis/bearer"
	"github.com/portcullis-gateway/portcullis/identity"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// visit is what the introspect directives of one request know of it. Several of them may apply, one after the other:
// the token is taken by the first, and what one has told the backend the next one leaves alone. It belongs to the
// goroutine of the request.
type visit struct {
	// arrived is when the request came to the first directive.
	arrived time.Time

	credential bearer.Credential
	// malformed are the schemes under which something is presented that is no token.
	malformed  []string
	possession possession

	// answers are those that were given for this request, and the last of them is what the placeholders tell.
	answers []given
	// first is room for the only answer that most requests need.
	first [1]given
	told  identity.Told
	// user is the one that the first directive named that could name one, as in the headers.
	user string

	// asked is whom the last directive has asked, or its nobody.
	asked *party

	// outcome is how the last directive has ended, and status what it would have answered if it had not only observed.
	outcome outcome
	status  int

	// writer is what the response passes through, if it is needed, and stream is nil unless the response is one that ends
	// with its tokens.
	writer lateWriter
	stream *stream
	// code and description tell of a refusal: its error code, or its outcome where it has none, and its reason.
	code, description string
}

// given is an answer and who gave it.
type given struct {
	by     *authority.Authority
	answer *introspect.Answer
	// ends says which responses end with the token, if the answer has let the request pass.
	ends EndAtExpiry
}

// last returns the last answer, or one without an answer.
func (v *visit) last() given {
	if len(v.answers) == 0 {
		return given{}
	}
	return v.answers[len(v.answers)-1]
}

// visitKey is where the visit lies among the variables of a request.
const visitKey = "http.handlers.introspect.visit"

// String hides the visit, which has a token, from whoever prints the variables of a request.
func (*visit) String() string { return "[visit]" }

// GoString hides the visit from %#v.
func (*visit) GoString() string { return "[visit]" }

// userPlaceholder is what Caddy's access log and FastCGI take for the user.
const userPlaceholder = "http.auth.user.id"

// visitOf returns the visit of a request, which begins with the first directive.
func visitOf(r *http.Request) *visit {
	if v, ok := caddyhttp.GetVar(r.Context(), visitKey).(*visit); ok {
		return v
	}
	v := &visit{arrived: time.Now()}
	v.answers = v.first[:0]
	v.possession.bring(r)
	ctx := r.Context()
	caddyhttp.SetVar(ctx, visitKey, v)
	replacer := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	// Whoever was named before this directive did not come by its rules.
	replacer.Delete(userPlaceholder)
	replacer.Map(v.placeholder)
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && server != nil && server.Logs != nil {
		ctx.Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields).Add(zap.Inline(v))
	}
	return v
}

// takeToken takes the token of the request out of the places where it may be, and out of the request unless it is to be
// kept there: a token is good for everything that its client may do, at every backend of its authority. A directive
// finds what an earlier one has taken, and no second one beside it.
func (v *visit) takeToken(r *http.Request, places bearer.Places, maxToken int, keep bool) (bearer.Credential, error) {
	restore := v.hideTold(r.Header)
	defer restore()
	found, err := places.Take(r, maxToken)
	if _, isCookie := errors.AsType[*bearer.CookieError](err); isCookie && v.credential.Token != "" {
		err = bearer.ErrNoToken
	}
	if err != nil && !errors.Is(err, bearer.ErrNoToken) {
		v.malformed = bearer.Schemes(r.Header["Authorization"])
	}
	if !keep {
		places.Clean(r)
		cleanOriginal(r, places)
		delete(r.Header, "Dpop")
	}
	switch earlier := v.credential; {
	case err != nil && !errors.Is(err, bearer.ErrNoToken):
		return bearer.Credential{}, err
	case earlier.Token == "":
		v.credential = found
		return found, err
	case err == nil && found.In != bearer.InCookie && found.Token != earlier.Token:
		return bearer.Credential{}, fmt.Errorf("%w: more than one token", bearer.ErrInvalidRequest)
	case len(earlier.Token) > maxToken:
		return bearer.Credential{}, bearer.ErrInvalidToken
	}
	return v.credential, nil
}

// cleanOriginal takes what may be a token out of the URL of the request as it came in, which Caddy keeps for placeholders and
// for error handling.
func cleanOriginal(r *http.Request, places bearer.Places) {
	if !places.InURL() {
		return
	}
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok {
		return
	}
	places.CleanTarget(&original)
	// Whoever holds the request has to find the clean one: the replacer does, and so does the server, unless a handler in front
	// has made one of its own. The placeholder is clean even then.
	r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).Set("http.request.orig_uri", original.RequestURI)
	*r = *r.WithContext(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, original))
}

// ask asks an authority about the token, unless a directive before has an answer of it that was asked for since then, and
// keeps the answer for the placeholders and the access log.
func (v *visit) ask(ctx context.Context, a *authority.Authority, credential bearer.Credential, since time.Time) (*introspect.Answer, error) {
	for _, earlier := range v.answers {
		if earlier.by == a && !earlier.answer.AskedAt.Before(since) && (since.IsZero() || earlier.answer.Source != introspect.Stale) {
			v.answers = append(v.answers, given{by: a, answer: earlier.answer})
			return earlier.answer, nil
		}
	}
	token := introspect.NewToken(credential.Token).AskedSince(since)
	if a.LimitsUnknown {
		address, _ := caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string)
		token = token.From(address)
	}
	answer, err := a.Introspect(ctx, token)
	if err != nil {
		return nil, err
	}
	v.answers = append(v.answers, given{by: a, answer: answer})
	return answer, nil
}

// tell tells the backend who came.
func (v *visit) tell(header http.Header, teller *identity.Teller, answer *introspect.Answer) error {
	told, user, err := teller.Tell(header, answer, v.told)
	if err != nil {
		return err
	}
	v.told = told
	if v.user == "" {
		v.user = user
	}
	return nil
}

// takeBack takes back what an earlier directive has told the backend: a request that is refused after all may come to one by
// way of an error page, as nobody's.
func (v *visit) takeBack(header http.Header) {
	for _, name := range v.told {
		delete(header, name)
	}
	v.told, v.user = nil, ""
}

// MarshalLogObject adds to the access log who came and how the visit has ended.
func (v *visit) MarshalLogObject(log zapcore.ObjectEncoder) error {
	for i := range v.answers {
		// The client of the last directive that knows one.
		if client := v.answers[len(v.answers)-1-i].answer.ClientID(); client != "" {
			log.AddString("client_id", client)
			break
		}
	}
	if v.outcome != "" {
		log.AddString("introspect", string(v.outcome))
	}
	if v.status != 0 {
		log.AddInt("introspect_status", v.status)
	}
	if why := v.stream.ended(); why != "" {
		log.AddString("introspect_ended", string(why))
	}
	return nil
}

// explain keeps why a request is refused, for the placeholders.
func (v *visit) explain(refused refusal) {
	v.code, v.description = refused.code, refused.reason
	if v.code == "" {
		v.code = string(refused.outcome)
	}
}

// observe writes into the access log how the visit would have ended, and with which status if not well.
func (v *visit) observe(would outcome, refused *refusal) {
	v.outcome = wouldBe + would
	if refused == nil {
		return
	}
	v.explain(*refused)
	v.status = refused.status
}

const placeholderPrefix = "http.introspect."

// placeholder answers for everything that begins with http.introspect., since Caddy would send an unknown placeholder
// to the backend as it is written.
func (v *visit) placeholder(key string) (any, bool) {
	if key == userPlaceholder {
		return v.user, true
	}
	name, ours := strings.CutPrefix(key, placeholderPrefix)
	if !ours {
		return nil, false
	}
	switch name {
	case "error":
		return v.code, true
	case "error_description":
		return v.description, true
	}
	last := v.last()
	if last.answer == nil {
		return "", true
	}
	if path, isClaim := strings.CutPrefix(name, "claims."); isClaim {
		value, _ := last.answer.Claim(path)
		return identity.Text(value), true
	}
	switch name {
	case "active":
		return strconv.FormatBool(last.answer.Active), true
	case "scope":
		return last.answer.Scope(), true
	case "client_id":
		return last.answer.ClientID(), true
	case "sub":
		return last.answer.Subject(), true
	case "iss":
		issuer, _ := last.answer.Claim("iss")
		return identity.Text(issuer), true
	case "exp":
		if last.answer.ExpiresAt().IsZero() {
			return "", true
		}
		return strconv.FormatInt(last.answer.ExpiresAt().Unix(), 10), true
	case "authority":
		return last.by.Label, true
	case "cache":
		return last.answer.Source.String(), true
	}
	return "", true
}
