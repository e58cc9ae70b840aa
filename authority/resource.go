package authority

import "github.com/portcullis-gateway/portcullis/resource"

// Describe adds what a route says of the protected resource that it is a part of.
func (a *App) Describe(description resource.Description) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	directory, err := a.resources.Load().With(description)
	if err == nil {
		a.resources.Store(directory)
	}
	return err
}

// Resources are the protected resources of the configuration.
func (a *App) Resources() *resource.Directory { return a.resources.Load() }

// IssuerIdentifier is the issuer that clients find its metadata by, if that is known.
func (a *Authority) IssuerIdentifier() string {
	if server, ok := a.upstream.next.(EmbeddedServer); ok {
		return server.IssuerIdentifier()
	}
	return a.Issuer
}
