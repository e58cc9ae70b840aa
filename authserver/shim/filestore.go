package shim

import (
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/authserver/filestore"
	"github.com/portcullis-gateway/portcullis/authserver/store"
)

func init() {
	caddy.RegisterModule(new(FileStore))
}

// FileStore keeps the state of the authorization server in one file on a local disk. The file is opened by the first
// request that needs it, by one process at a time.
type FileStore struct {
	// The path of the file. Default: `portcullis/authorization_server.db` in Caddy's data directory.
	Path string `json:"path,omitempty"`

	path   string
	shared *sharedFile
	held   bool
}

// CaddyModule returns the Caddy module information.
func (*FileStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "authorization_server.stores.file",
		New: func() caddy.Module { return new(FileStore) },
	}
}

// files holds the one handle of each file: a second one in the same process would wait for the lock of the first, as
// the configurations before and after a reload would for each other's.
var files = caddy.NewUsagePool()

type sharedFile struct{ *filestore.Store }

func (f *sharedFile) Destruct() error { return f.Close() }

// Provision finds the file's handle. It does not touch the file.
func (f *FileStore) Provision(caddy.Context) error {
	path := f.Path
	if path == "" {
		path = filepath.Join(caddy.AppDataDir(), "portcullis", "authorization_server.db")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("store file %q: %w", f.Path, err)
	}
	shared, _, err := files.LoadOrNew(path, func() (caddy.Destructor, error) {
		return &sharedFile{filestore.New(path)}, nil
	})
	if err != nil {
		return err
	}
	f.path, f.shared, f.held = path, shared.(*sharedFile), true
	return nil
}

// Cleanup gives the handle back.
func (f *FileStore) Cleanup() error {
	if !f.held {
		return nil
	}
	f.held = false
	_, err := files.Delete(f.path)
	return err
}

// Store returns the store.
func (f *FileStore) Store() store.Store { return f.shared }

// Place names the file.
func (f *FileStore) Place() string { return "file " + f.path }

// Shared is false: one process has the file open.
func (*FileStore) Shared() bool { return false }

// Interface guards
var (
	_ caddy.Provisioner  = (*FileStore)(nil)
	_ caddy.CleanerUpper = (*FileStore)(nil)
	_ StoreModule        = (*FileStore)(nil)
)
