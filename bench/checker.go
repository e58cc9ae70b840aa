package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Checker is a small service behind Caddy's forward_auth: it asks the authority for what it does not remember, and
// demands the scope.
type Checker struct {
	listening

	client *http.Client

	mu         sync.RWMutex
	endpoint   string
	remembered map[[sha256.Size]byte]answer
}

// checkerEntries is how many answers a checker remembers. When it has as many, it begins again.
const checkerEntries = 100_000

func newChecker() (any, error) {
	c := &Checker{
		client:     &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}},
		remembered: make(map[[sha256.Size]byte]answer),
	}
	var err error
	c.listening, err = serve(c.check)
	return c, err
}

// Ask sets the introspection endpoint that is asked.
func (c *Checker) Ask(endpoint string, _ *nothing) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endpoint = endpoint
	return nil
}

func (c *Checker) check(w http.ResponseWriter, r *http.Request) {
	token, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !isBearer {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	found, err := c.find(r.Context(), token)
	switch {
	case err != nil:
		w.WriteHeader(http.StatusServiceUnavailable)
	case !found.Active || found.Expiry <= time.Now().Unix():
		w.WriteHeader(http.StatusUnauthorized)
	case !slices.Contains(strings.Fields(found.Scope), scope):
		w.WriteHeader(http.StatusForbidden)
	default:
		w.Header().Set(userHeader, found.Username)
	}
}

func (c *Checker) find(ctx context.Context, token string) (answer, error) {
	key := sha256.Sum256([]byte(token))
	c.mu.RLock()
	found, ok := c.remembered[key]
	endpoint := c.endpoint
	c.mu.RUnlock()
	if ok {
		return found, nil
	}
	found, err := c.introspect(ctx, endpoint, token)
	if err != nil {
		return answer{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.remembered) >= checkerEntries {
		clear(c.remembered)
	}
	c.remembered[key] = found
	return found, nil
}

func (c *Checker) introspect(ctx context.Context, endpoint, token string) (answer, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(clientID, clientSecret)
	response, err := c.client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return answer{}, fmt.Errorf("the authority answers %s", response.Status)
	}
	var found answer
	err = json.NewDecoder(response.Body).Decode(&found)
	return found, err
}
