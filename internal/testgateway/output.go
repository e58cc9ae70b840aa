package testgateway

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
)

// Output is what a program has written, each time that it ran. It is safe for concurrent use.
type Output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	begun   int // where the output of the last run begins
	ended   bool
	changed chan struct{} // closed when anything else here changes
}

func newOutput() *Output { return &Output{changed: make(chan struct{})} }

// Write takes what the program writes.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.signal()
	return o.text.Write(p)
}

// begin says that the program starts, once more maybe.
func (o *Output) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.begun, o.ended = o.text.Len(), false
	o.signal()
}

// end says that nothing follows, since the program has ended.
func (o *Output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	o.signal()
}

func (o *Output) signal() {
	close(o.changed)
	o.changed = make(chan struct{})
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// line waits for the first whole line of the last run that holds a text, and returns it without its end.
func (o *Output) line(ctx context.Context, holds string) (string, error) {
	for {
		o.mu.Lock()
		text, ended, changed := o.text.String()[o.begun:], o.ended, o.changed
		o.mu.Unlock()
		for line := range strings.Lines(text) {
			if whole, ok := strings.CutSuffix(line, "\n"); ok && strings.Contains(whole, holds) {
				return whole, nil
			}
		}
		if ended {
			return "", fmt.Errorf("the program ended without a line that holds %q", holds)
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("no line that holds %q: %w", holds, ctx.Err())
		case <-changed:
		}
	}
}
