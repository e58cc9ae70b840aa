package testbrowser

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Tab is a page of a browser, with cookies of its own.
type Tab struct {
	browser *Browser
	session string

	mu      sync.Mutex
	loads   int
	shown   int // pages, restored ones included
	says    []string
	changed chan struct{} // closed when anything here changes
}

// Tab opens a tab that has no cookies.
func (b *Browser) Tab(t testing.TB) *Tab {
	t.Helper()
	var context struct{ BrowserContextID string }
	require.NoError(t, b.call("", "Target.createBrowserContext", nil, &context))
	var target struct{ TargetID string }
	require.NoError(t, b.call("", "Target.createTarget", map[string]any{
		"url": "about:blank", "browserContextId": context.BrowserContextID,
	}, &target))
	var attached struct{ SessionID string }
	require.NoError(t, b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached))
	tab := &Tab{browser: b, session: attached.SessionID, changed: make(chan struct{})}
	b.mu.Lock()
	b.tabs[tab.session] = tab
	b.mu.Unlock()
	for _, domain := range []string{"Page", "Log", "Runtime"} {
		tab.call(t, domain+".enable", nil, nil)
	}
	tab.Shape(t, 1000, 800, false)
	return tab
}

func (p *Tab) call(t testing.TB, method string, params map[string]any, result any) {
	t.Helper()
	require.NoError(t, p.browser.call(p.session, method, params, result))
}

// hear takes an event.
func (p *Tab) hear(method string, params json.RawMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch method {
	case "Page.loadEventFired":
		p.loads++
	case "Page.frameNavigated":
		p.shown++
	case "Log.entryAdded":
		var said struct {
			Entry struct{ Text string }
		}
		if json.Unmarshal(params, &said) == nil {
			p.says = append(p.says, said.Entry.Text)
		}
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// await waits until something is so.
func (p *Tab) await(t testing.TB, what string, is func() bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		p.mu.Lock()
		done, changed := is(), p.changed
		p.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-p.browser.ended:
			t.Fatal("the browser is gone")
		case <-timeout:
			t.Fatalf("%s: nothing happened; the page is %s, and says %q", what, p.URL(t), p.Text(t))
		}
	}
}

// count reads a counter.
func (p *Tab) count(counter *int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return *counter
}

// after does something that leads to another page, and waits until that is there.
func (p *Tab) after(t testing.TB, what string, do func()) {
	t.Helper()
	before := p.count(&p.loads)
	do()
	p.await(t, what, func() bool { return p.loads > before })
}

// Open opens a page.
func (p *Tab) Open(t testing.TB, url string) {
	t.Helper()
	p.after(t, "opening "+url, func() { p.call(t, "Page.navigate", map[string]any{"url": url}, nil) })
}

// Back goes back, as the button does. The browser may ask for the page again, or show it as it was.
func (p *Tab) Back(t testing.TB) {
	t.Helper()
	var history struct {
		CurrentIndex int
		Entries      []struct{ ID int }
	}
	p.call(t, "Page.getNavigationHistory", nil, &history)
	require.Positive(t, history.CurrentIndex)
	before := p.count(&p.shown)
	p.call(t, "Page.navigateToHistoryEntry", map[string]any{"entryId": history.Entries[history.CurrentIndex-1].ID}, nil)
	p.await(t, "going back", func() bool { return p.shown > before })
}

// Do runs a script in the page, and reads the value of its last expression, a promise's included.
func (p *Tab) Do(t testing.TB, script string, into any) {
	t.Helper()
	var done struct {
		Result struct {
			Value json.RawMessage
		}
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	p.call(t, "Runtime.evaluate", map[string]any{"expression": script, "returnByValue": true, "awaitPromise": true}, &done)
	if failed := done.ExceptionDetails; failed != nil {
		t.Fatalf("%s: %s %s", script, failed.Text, failed.Exception.Description)
	}
	if into != nil {
		require.NoError(t, json.Unmarshal(done.Result.Value, into), script)
	}
}

// URL is the address of the page.
func (p *Tab) URL(t testing.TB) string {
	t.Helper()
	var url string
	p.Do(t, "location.href", &url)
	return url
}

// Text is the text of the page as it is seen.
func (p *Tab) Text(t testing.TB) string {
	t.Helper()
	var text string
	p.Do(t, "document.body.innerText", &text)
	return text
}

// Status is the status code that the page came with.
func (p *Tab) Status(t testing.TB) int {
	t.Helper()
	var status int
	p.Do(t, `performance.getEntriesByType("navigation")[0].responseStatus`, &status)
	return status
}

// Says lists what the browser has complained about since it was last asked.
func (p *Tab) Says() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	said := p.says
	p.says = nil
	return said
}

// AwaitSays waits until the browser complains of something.
func (p *Tab) AwaitSays(t testing.TB, holds string) {
	t.Helper()
	p.await(t, holds, func() bool { return strings.Contains(strings.Join(p.says, "\n"), holds) })
}

// Await waits for a page, after others that lead to it by themselves, whose text holds a text.
func (p *Tab) Await(t testing.TB, holds string) {
	t.Helper()
	for {
		before := p.count(&p.loads)
		if strings.Contains(p.Text(t), holds) {
			return
		}
		p.await(t, holds, func() bool { return p.loads > before })
	}
}

// Press clicks with the mouse at the middle of the one element that a selector selects.
func (p *Tab) Press(t testing.TB, selector string) {
	t.Helper()
	quoted, err := json.Marshal(selector)
	require.NoError(t, err)
	var at []float64
	p.Do(t, `(() => {
		const all = document.querySelectorAll(`+string(quoted)+`)
		if (all.length !== 1) return [all.length]
		all[0].scrollIntoView({block: "center"})
		const box = all[0].getBoundingClientRect()
		return [box.x + box.width / 2, box.y + box.height / 2]
	})()`, &at)
	require.Len(t, at, 2, "%s selects %v elements of: %s", selector, at, p.Text(t))
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		p.call(t, "Input.dispatchMouseEvent", map[string]any{
			"type": kind, "x": at[0], "y": at[1], "button": "left", "buttons": 1, "clickCount": 1,
		}, nil)
	}
}

// Submit clicks as Press does, and waits for the page that follows.
func (p *Tab) Submit(t testing.TB, selector string) {
	t.Helper()
	p.after(t, "pressing "+selector, func() { p.Press(t, selector) })
}

// Fill puts a text into an input in the place of what is there.
func (p *Tab) Fill(t testing.TB, selector, text string) {
	t.Helper()
	p.Press(t, selector)
	p.Do(t, "document.activeElement.select()", nil)
	p.call(t, "Input.insertText", map[string]any{"text": text}, nil)
}

// Enter presses the enter key, and waits for the page that follows.
func (p *Tab) Enter(t testing.TB) {
	t.Helper()
	p.after(t, "pressing enter", func() {
		for _, kind := range []string{"keyDown", "keyUp"} {
			p.call(t, "Input.dispatchKeyEvent", map[string]any{
				"type": kind, "key": "Enter", "code": "Enter", "text": "\r", "windowsVirtualKeyCode": 13,
			}, nil)
		}
	})
}

// Shape gives the tab a size, in CSS pixels.
func (p *Tab) Shape(t testing.TB, width, height int, mobile bool) {
	t.Helper()
	p.call(t, "Emulation.setDeviceMetricsOverride", map[string]any{
		"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile,
	}, nil)
}

// Scheme has the user prefer light or dark.
func (p *Tab) Scheme(t testing.TB, scheme string) {
	t.Helper()
	p.call(t, "Emulation.setEmulatedMedia", map[string]any{
		"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}},
	}, nil)
}

// Scripts says whether scripts of pages run.
func (p *Tab) Scripts(t testing.TB, run bool) {
	t.Helper()
	p.call(t, "Emulation.setScriptExecutionDisabled", map[string]any{"value": !run}, nil)
}

// Screenshot is a PNG of what is seen.
func (p *Tab) Screenshot(t testing.TB) []byte {
	t.Helper()
	var shot struct{ Data string }
	p.call(t, "Page.captureScreenshot", map[string]any{"format": "png", "optimizeForSpeed": false}, &shot)
	image, err := base64.StdEncoding.DecodeString(shot.Data)
	require.NoError(t, err)
	return image
}
