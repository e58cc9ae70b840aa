package shim

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"github.com/portcullis-gateway/portcullis/authserver"
	"github.com/portcullis-gateway/portcullis/internal/operator"
	"github.com/portcullis-gateway/portcullis/introspect"
)

func isURL(text string) bool { return strings.Contains(text, "://") }

// remoteKeySet makes the key set of a URL, without asking for it.
func (*App) remoteKeySet(url string) (*authserver.KeySet, error) {
	return authserver.NewRemoteKeySet(authserver.RemoteKeySet{
		URL: url, Transport: introspect.DefaultTransport(), Logger: slog.New(lastingHandler{}),
	})
}

// keySet makes the key set of a URL, without asking for it, or of a file, which it reads.
func (a *App) keySet(text string) (*authserver.KeySet, error) {
	place, err := operator.Secret(text)
	if err != nil {
		return nil, err
	}
	if isURL(place) {
		return a.remoteKeySet(place)
	}
	if strings.HasPrefix(place, "{") {
		return nil, errors.New("this is the key set itself: it takes the path of a file that holds it, or a URL")
	}
	content, err := os.ReadFile(place)
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathError.Err
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	keys, err := authserver.ParseKeySet(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return keys, nil
}
