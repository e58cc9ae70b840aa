package introspect

// Endpoint is the introspection endpoint that the issuer publishes, or empty as long as it is not known.
func (d *Discovery) Endpoint() string {
	k := d.known
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.metadata == nil {
		return ""
	}
	return k.metadata.IntrospectionEndpoint
}

// Down tells why a call would fail now for want of an endpoint, or nil. Where the endpoint was not looked for yet, or the
// next call looks for it again, there is no reason.
func (d *Discovery) Down() error {
	k := d.known
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.metadata != nil || k.attempt != nil || d.due() {
		return nil
	}
	return k.err
}

// Open tells whether the breaker keeps calls away now. When it has been open long enough it does not: the next call is
// let through to see.
func (g *Guard) Open() bool {
	g.breaker.mu.Lock()
	defer g.breaker.mu.Unlock()
	return g.shut()
}

// Down tells why a call would not be let through now, or nil.
func (g *Guard) Down() error {
	if err := g.paused(); err != nil {
		return err
	}
	g.breaker.mu.Lock()
	defer g.breaker.mu.Unlock()
	if g.shut() {
		return g.breaker.err()
	}
	return nil
}
