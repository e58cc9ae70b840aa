// Package testbrowser drives Chromium, for tests of what people see. It speaks the DevTools protocol over a pipe, so that
// it needs nothing but the browser.
package testbrowser

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/portcullis-gateway/portcullis/internal/testgateway"
)

// patience is how long the browser may take for anything. Nothing waits this long unless it is broken.
const patience = time.Minute

// Browser is a Chromium without a window. When the test ends, it is stopped.
type Browser struct {
	commands *os.File
	ended    chan struct{} // closed when the browser says nothing more

	mu      sync.Mutex
	last    int
	waiting map[int]chan message
	tabs    map[string]*Tab // by their sessions
}

// fontsConf has pages look the same wherever the fonts of the package fonts-liberation are.
const fontsConf = `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
	<dir>/usr/share/fonts</dir>
	<cachedir prefix="xdg">fontconfig</cachedir>
	<match target="pattern">
		<edit name="family" mode="prepend" binding="strong"><string>Liberation Sans</string></edit>
	</match>
</fontconfig>
`

// message is a command, a reply or an event of the protocol.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  any             `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// event is a message that the browser sends by itself.
type event struct {
	message
	Params json.RawMessage `json:"params"`
}

// Start starts a browser for which each of the hosts is at an address of this machine, and every certificate is good. The
// test is skipped if there is none.
func Start(t testing.TB, hosts map[string]string) *Browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		testgateway.Missing(t, "needs Chromium: apt-get install chromium")
	}
	rules := "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
	for host, address := range hosts {
		rules = "MAP " + host + " " + address + ", " + rules
	}
	theirCommands, commands, err := os.Pipe()
	require.NoError(t, err)
	events, theirEvents, err := os.Pipe()
	require.NoError(t, err)
	dir := t.TempDir()
	command := exec.Command(path,
		"--headless", "--remote-debugging-pipe", "--user-data-dir="+dir, "--host-resolver-rules="+rules, "--ignore-certificate-errors",
		// It shows the pages of the test alone, and runs as root in containers.
		"--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--no-first-run", "--hide-scrollbars", "--lang=en-US", "--force-color-profile=srgb",
		"about:blank")
	fonts := filepath.Join(dir, "fonts.conf")
	require.NoError(t, os.WriteFile(fonts, []byte(fontsConf), 0o600))
	command.Env = append(os.Environ(), "HOME="+dir, "TZ=UTC", "FONTCONFIG_FILE="+fonts)
	command.ExtraFiles = []*os.File{theirCommands, theirEvents}
	require.NoError(t, command.Start())
	_ = theirCommands.Close() // the browser has its own
	_ = theirEvents.Close()
	b := &Browser{
		commands: commands, ended: make(chan struct{}), waiting: make(map[int]chan message), tabs: make(map[string]*Tab),
	}
	go b.listen(events)
	t.Cleanup(func() {
		_ = b.call("", "Browser.close", nil, nil) // it may be gone
		_ = commands.Close()
		select {
		case <-b.ended:
		case <-time.After(patience):
			_ = command.Process.Kill()
			t.Error("the browser did not end when it was asked to")
		}
		_ = command.Wait() // it is ended by a command
	})
	return b
}

// listen hands on what the browser says until it is gone.
func (b *Browser) listen(events *os.File) {
	defer close(b.ended)
	defer events.Close()
	for reader := bufio.NewReaderSize(events, 1<<16); ; {
		text, err := reader.ReadBytes(0)
		if err != nil {
			return
		}
		var said event
		if json.Unmarshal(text[:len(text)-1], &said) != nil {
			continue
		}
		b.mu.Lock()
		reply, tab := b.waiting[said.ID], b.tabs[said.Session]
		delete(b.waiting, said.ID)
		b.mu.Unlock()
		switch {
		case said.ID != 0 && reply != nil:
			reply <- said.message
		case tab != nil:
			tab.hear(said.Method, said.Params)
		}
	}
}

// call sends a command to a session, or to the browser itself, and reads the reply.
func (b *Browser) call(session, method string, params map[string]any, result any) error {
	reply := make(chan message, 1)
	b.mu.Lock()
	b.last++
	id := b.last
	b.waiting[id] = reply
	text, err := json.Marshal(message{ID: id, Session: session, Method: method, Params: params})
	if err == nil {
		_, err = b.commands.Write(append(text, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case said := <-reply:
		if said.Error != nil {
			return fmt.Errorf("%s: %s", method, said.Error.Message)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(said.Result, result)
	case <-b.ended:
		return errors.New("the browser is gone")
	case <-time.After(patience):
		return errors.New(method + ": no reply")
	}
}
