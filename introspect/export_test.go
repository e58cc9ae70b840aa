package introspect

// Len is how many networks are kept.
func (t *Tries) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.networks)
}
