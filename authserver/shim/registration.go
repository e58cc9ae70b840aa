package shim

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/authserver"
)

// Registration says who may register clients (RFC 7591), and how far. Either `open` or `token` has to be there.
type Registration struct {
	// Anybody may register a client.
	Open bool `json:"open,omitempty"`
	// The initial access token that whoever registers a client has to show, or its argon2id or bcrypt hash. The placeholders
	// `{env.NAME}` and `{file./absolute/path}` are resolved.
	Token string `json:"token,omitempty"`
	// The most that a client gets which has registered itself. Default: `openid`, `profile`, `email`, `offline_access`.
	Scopes []string `json:"scopes,omitempty"`
	// How many such clients there may be. Default: 1000.
	MaxClients int `json:"max_clients,omitempty"`
	// After how long without use such a client is gone, at least `2d`. Default: `30d`.
	ExpireUnused caddy.Duration `json:"expire_unused,omitempty"`
}

func (r *Registration) config(resolve func(string) (string, error)) (*authserver.Registration, error) {
	if r == nil {
		return nil, nil
	}
	if r.Open == (r.Token != "") {
		return nil, errors.New("registration needs either 'open' or 'token <initial access token>'")
	}
	config := &authserver.Registration{Scopes: r.Scopes, MaxClients: r.MaxClients, ExpireUnused: time.Duration(r.ExpireUnused)}
	if r.Open {
		return config, nil
	}
	text, err := resolve(r.Token)
	if err != nil {
		return nil, fmt.Errorf("registration: token: %w", err)
	}
	if config.Token, err = authserver.NewSecret(text); err != nil {
		return nil, fmt.Errorf("registration: token: %w", err)
	}
	return config, nil
}
