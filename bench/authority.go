package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"
)

const (
	tokenPrefix = "pat_"
	// tokenFormat makes a number a token as long as one of 256 random bits.
	tokenFormat = tokenPrefix + "%043d"

	clientID     = "gateway"
	clientSecret = "gateway-secret"
	scope        = "orders:read"

	endpointPath = "/introspect"
)

// token is the token of a number.
func token(number int) string { return fmt.Sprintf(tokenFormat, number) }

// userOf is the user of a token.
func userOf(token string) string {
	return "user" + cmp.Or(strings.TrimLeft(strings.TrimPrefix(token, tokenPrefix), "0"), "0")
}

// Authority is an RFC 7662 authorization server that knows the tokens of all numbers, and counts what it is asked.
type Authority struct {
	listening

	secure string // the URL of its endpoint by https
	expiry int64
	delay  atomic.Int64
	calls  atomic.Int64
}

func newAuthority() (any, error) {
	a := &Authority{expiry: time.Now().Add(24 * time.Hour).Unix()}
	var err error
	a.listening, err = serve(a.introspect)
	a.secure = httptest.NewTLSServer(http.HandlerFunc(a.introspect)).URL + endpointPath
	return a, err
}

// Secure tells the URL of the endpoint by https, for gateways that accept no other. The certificate is self-signed.
func (a *Authority) Secure(_ nothing, endpoint *string) error {
	*endpoint = a.secure
	return nil
}

func (a *Authority) introspect(w http.ResponseWriter, r *http.Request) {
	id, secret, _ := r.BasicAuth()
	if id != clientID || secret != clientSecret {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	a.calls.Add(1)
	time.Sleep(time.Duration(a.delay.Load()))
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(a.answer(r.PostFormValue("token"))) // the gateway hung up
}

// answer is what the authority says of a token.
type answer struct {
	Active   bool     `json:"active"`
	Username string   `json:"username,omitempty"`
	Subject  string   `json:"sub,omitempty"`
	ClientID string   `json:"client_id,omitempty"`
	Scope    string   `json:"scope,omitempty"`
	Issuer   string   `json:"iss,omitempty"`
	Audience string   `json:"aud,omitempty"`
	Expiry   int64    `json:"exp,omitempty"`
	Groups   []string `json:"groups,omitempty"`
}

func (a *Authority) answer(token string) answer {
	if !strings.HasPrefix(token, tokenPrefix) {
		return answer{}
	}
	name := userOf(token)
	return answer{
		Active:   true,
		Username: name,
		Subject:  "subject-of-" + name,
		ClientID: "orders-app",
		Scope:    scope + " orders:write",
		Issuer:   "https://auth.example.com",
		Audience: "https://api.example.com",
		Expiry:   a.expiry,
		Groups:   []string{"buyers", "staff"},
	}
}

// Calls tells how often the authority has been asked.
func (a *Authority) Calls(_ nothing, calls *int) error {
	*calls = int(a.calls.Load())
	return nil
}

// Delay sets how long the authority takes for an answer.
func (a *Authority) Delay(delay time.Duration, _ *nothing) error {
	a.delay.Store(int64(delay))
	return nil
}
