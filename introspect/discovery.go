package introspect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Discovery finds out what an issuer publishes of itself (RFC 8414), when it is first wanted and again from time to
// time. Calls for the same metadata are made once. It is safe for concurrent use, and nobody has to close it.
type Discovery struct {
	config DiscoveryConfig
	known  *Discovered
}

// DiscoveryConfig says whose metadata are wanted and how to get them.
type DiscoveryConfig struct {
	// Issuer is the issuer identifier: https, or http on loopback.
	Issuer string
	// InsecureHTTP allows http beyond loopback.
	InsecureHTTP bool
	// Keys says that the place of the issuer's keys is wanted (jwks_uri), and not its introspection endpoint.
	Keys bool
	// Timeout bounds one attempt. Default: 5 seconds.
	Timeout time.Duration
	// MaxResponse is the longest document that is read, in bytes. Default: 1 MiB.
	MaxResponse int64
	// Transport carries the calls. Default: a transport of its own.
	Transport http.RoundTripper
	// Known is what an earlier Discovery of the same issuer has found out. Default: nothing.
	Known *Discovered
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Discovered is what is known of an issuer. It outlives the Discovery that finds it out, if it is given to the next one.
// The zero value knows nothing. It is safe for concurrent use.
type Discovered struct {
	mu        sync.Mutex
	metadata  *Metadata
	err       error     // why the last attempt failed
	attempted time.Time // when the last attempt ended
	failures  int       // how many attempts have failed since one succeeded
	doubted   bool
	attempt   chan struct{} // closed when the attempt that is under way ends; nil if none is
}

// How long metadata are used before they are fetched again, and how soon at the earliest after somebody doubts them; and
// how long a failed attempt is not repeated, at first and at most.
const (
	metadataLife  = time.Hour
	doubtAfter    = 30 * time.Second
	firstBackoff  = time.Second
	longestPause  = time.Minute
	shiftsToPause = 6
)

// NewDiscovery checks the configuration and returns a Discovery. It opens no connection.
func NewDiscovery(config DiscoveryConfig) (*Discovery, error) {
	if err := CheckIssuer(config.Issuer, config.InsecureHTTP); err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	if config.Timeout <= 0 {
		config.Timeout = DefaultTimeout
	}
	if config.MaxResponse <= 0 {
		config.MaxResponse = DefaultMaxResponse
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Transport == nil {
		config.Transport = DefaultTransport()
	}
	known := config.Known
	if known == nil {
		known = new(Discovered)
	}
	return &Discovery{config: config, known: known}, nil
}

// Metadata returns what the issuer publishes. Where that is not known yet it waits for it, unless an attempt has failed a
// moment ago. Errors are those of an Introspector.
func (d *Discovery) Metadata(ctx context.Context) (*Metadata, error) {
	k := d.known
	k.mu.Lock()
	if k.attempt == nil && d.due() {
		k.attempt = make(chan struct{})
		go d.fetch()
	}
	metadata, err, attempt := k.metadata, k.err, k.attempt
	k.mu.Unlock()
	switch {
	case metadata != nil:
		return metadata, nil
	case attempt == nil && errors.Is(err, ErrMalformed):
		return nil, err
	case attempt == nil:
		return nil, fmt.Errorf("%w: not discovered yet, and not tried again yet", errBusy)
	}
	select {
	case <-attempt:
	case <-ctx.Done():
		return nil, callError(ctx, "waiting for the authorization server's metadata", ctx.Err())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.metadata != nil {
		return k.metadata, nil
	}
	return nil, k.err
}

// Doubt says that a call to a discovered endpoint failed, so that the metadata may be out of date.
func (d *Discovery) Doubt() {
	d.known.mu.Lock()
	defer d.known.mu.Unlock()
	d.known.doubted = true
}

// due tells whether it is time for another attempt. The caller holds the lock.
func (d *Discovery) due() bool {
	k := d.known
	age := d.config.Now().Sub(k.attempted)
	switch {
	case k.attempted.IsZero():
		return true
	case k.failures > 0:
		return age >= backoff(k.failures)
	case k.doubted:
		return age >= doubtAfter
	}
	return age >= metadataLife
}

func backoff(failures int) time.Duration {
	return min(firstBackoff<<min(failures-1, shiftsToPause), longestPause)
}

// fetch makes one attempt. Metadata that are known stay in use while it fails.
func (d *Discovery) fetch() {
	ctx, cancel := context.WithTimeout(context.Background(), d.config.Timeout)
	defer cancel()
	metadata, err := d.find(ctx)
	k := d.known
	k.mu.Lock()
	defer k.mu.Unlock()
	k.attempted, k.err, k.doubted = d.config.Now(), err, false
	if err != nil {
		k.failures++
	} else {
		k.failures, k.metadata = 0, metadata
	}
	close(k.attempt)
	k.attempt = nil
}

// find looks in all places where the metadata may be. The first document of this issuer that names what is wanted counts.
func (d *Discovery) find(ctx context.Context) (*Metadata, error) {
	places, err := metadataURLs(d.config.Issuer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var failed error
	published := false
	for _, place := range places {
		metadata, err := d.read(ctx, place)
		switch {
		case err != nil:
			// A document that is wrong tells an operator more than one that is not there.
			if failed == nil || errors.Is(err, ErrMalformed) {
				failed = err
			}
		case d.config.Keys && metadata.JWKSURI != "", !d.config.Keys && metadata.IntrospectionEndpoint != "":
			return metadata, nil
		default:
			published = true
		}
	}
	switch {
	case published && d.config.Keys:
		return nil, errNoKeys
	case published:
		return nil, fmt.Errorf("%w: the metadata of the issuer name no introspection_endpoint: add 'endpoint <url>'", ErrMalformed)
	}
	return nil, failed
}

func (d *Discovery) read(ctx context.Context, place string) (*Metadata, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: making the request for the metadata", ErrUnavailable)
	}
	request.Header.Set("Accept", "application/json")
	response, err := send(d.config.Transport, request, d.config.MaxResponse)
	switch {
	case err != nil:
		return nil, err
	case response.status != http.StatusOK:
		return nil, fmt.Errorf("%w: not discovered yet: its metadata were answered with status %d", errBusy, response.status)
	case !isJSON(response.contentType):
		return nil, fmt.Errorf("%w: not discovered yet: its metadata are not JSON", errBusy)
	}
	return parseMetadata(response.body, d.config.Issuer, d.config.InsecureHTTP)
}
