package authority

import (
	"time"

	"github.com/portcullis-gateway/portcullis/cache"
	"github.com/portcullis-gateway/portcullis/introspect"
)

// Open watches a token for something that goes on by an answer about it, such as a stream, until that is closed. Reloads of
// the configuration do not end the watch. If the token ends before, end is called once, on a goroutine of its own.
func (a *Authority) Open(token introspect.Token, answer *introspect.Answer, end func(cache.End)) *cache.Open {
	return a.watch.Open(token, answer, end)
}

// Watched is for how many tokens something is open.
func (a *Authority) Watched() int { return a.watch.Len() }

// forget forgets what is remembered of the selected tokens, and ends what is open by them.
func (a *Authority) forget(selector cache.Selector) {
	if a.state != nil {
		a.state.Forget(selector)
		return
	}
	a.watch.Forget(selector)
}

// watch returns what watches the tokens of an authority and client. It outlives a reload, whatever becomes of the memory.
func (a *App) watch(identity, client string) (*cache.Watch, error) {
	watch, release, err := acquire(watches, digest(identity, client), func() (*cache.Watch, error) { return cache.NewWatch(), nil })
	if err == nil {
		a.release = append(a.release, release)
	}
	return watch, err
}

// join has an authority, which is complete but for that, tell its watch, and be asked by it.
func (a *App) join(authority *Authority, config *Cache) {
	authority.Introspector = authority.watch.Over(authority.Introspector)
	asker := &cache.Asker{Introspector: authority.Introspector, Every: cache.DefaultRevalidate, Stale: -1}
	if authority.state != nil {
		asker.Remembered = authority.state.Remembered
	}
	if config != nil && config.Revalidate != nil {
		asker.Every = time.Duration(*config.Revalidate)
	}
	if config != nil && config.Stale != nil {
		asker.Stale = time.Duration(*config.Stale)
	}
	a.release = append(a.release, authority.watch.Join(asker))
}
