package portcullis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/portcullis-gateway/portcullis/authority"
	"github.com/portcullis-gateway/portcullis/bearer"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// PhantomToken hands the signed answer on to the backend, which can verify by itself who the authority says it is. All
// authorities of the route have to sign their answers (`jwt_response`).
type PhantomToken struct {
	// The header that gets the JWT. It is removed from the requests of all routes first. Default: `Authorization`, under
	// the scheme `Bearer`, in place of the token.
	Header string `json:"header,omitempty"`
}

const authorization = "Authorization"

// check says why the signed answer cannot be handed on.
func (p *PhantomToken) check(passToken bool) error {
	if p != nil && p.Header == "" && passToken {
		return errors.New("'phantom_token' without a header puts the signed answer where 'pass_token' leaves the token: name a header, or leave out one of them")
	}
	return nil
}

// errNotSigned is why a route cannot hand on what its authority says.
func errNotSigned(authority string) error {
	return fmt.Errorf("'phantom_token' needs 'jwt_response' at the authority %s: only a signed answer can be handed on", authority)
}

// phantomHeader is the header that gets the signed answer, or empty. Where nobody is refused the token stays in its place.
func (h *Handler) phantomHeader() string {
	if h.PhantomToken == nil || h.PhantomToken.Header == "" && h.Observe {
		return ""
	}
	return cmp.Or(h.PhantomToken.Header, authorization)
}

func (h *Handler) provisionPhantomToken(authorities []*authority.Authority) error {
	if h.PhantomToken == nil {
		return nil
	}
	if err := h.PhantomToken.check(h.PassToken); err != nil {
		return err
	}
	for _, asked := range authorities {
		if !asked.Signs() {
			return errNotSigned(asked.Label)
		}
		asked.KeepSigned()
	}
	h.phantom = h.phantomHeader()
	return nil
}

// signed returns an answer that has the JWT in which it came, for a route that hands it on. One that was remembered for an
// earlier configuration may be without, and is asked for again.
func (h *Handler) signed(ctx context.Context, v *visit, by *authority.Authority, credential bearer.Credential, answer *introspect.Answer) (*introspect.Answer, error) {
	if h.phantom == "" || !answer.Active || answer.Signed() != "" {
		return answer, nil
	}
	answer, err := v.ask(ctx, by, credential, time.Now())
	if err == nil && answer.Active && answer.Signed() == "" {
		err = fmt.Errorf("%w: another configuration has asked, and not kept the signed answer", introspect.ErrUnavailable)
	}
	return answer, err
}

// clearAuthorization takes away what a client has put where the backend expects the signed answer.
func (v *visit) clearAuthorization(header http.Header) {
	if !slices.Contains(v.told, authorization) {
		delete(header, authorization)
	}
}

// hideTold takes a signed answer that an earlier directive has handed on out of the header, where it would pass for a token
// of the client's, and returns what puts it back.
func (v *visit) hideTold(header http.Header) (restore func()) {
	if !slices.Contains(v.told, authorization) {
		return func() {}
	}
	lines := header[authorization]
	delete(header, authorization)
	return func() { header[authorization] = lines }
}
