package main

import (
	"bytes"
	"context"
	"embed"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"text/template"
)

//go:embed peers
var peerFiles embed.FS

var peerTemplates = template.Must(template.ParseFS(peerFiles, "peers/*.conf"))

// server is one of those that are measured from outside.
type server struct {
	name string
	// bare is the name of the server that does the same without protection, or empty if this one is such.
	bare    string
	address string

	programs []*program
	players  []*player
}

// pids are the processes that the server consists of, without their children.
func (s *server) pids() []int {
	var pids []int
	for _, p := range s.programs {
		pids = append(pids, p.pid())
	}
	for _, p := range s.players {
		pids = append(pids, p.pid())
	}
	return pids
}

func (s *server) stop() error {
	var errs []error
	for _, p := range s.programs {
		errs = append(errs, p.stop())
	}
	for _, p := range s.players {
		errs = append(errs, p.stop())
	}
	return errors.Join(errs...)
}

// written is what the programs of a server that has been stopped have written.
func (s *server) written() string {
	var text strings.Builder
	for _, p := range s.programs {
		text.Write(p.output.Bytes())
	}
	return text.String()
}

// run starts a program that belongs to the server.
func (s *server) run(command *exec.Cmd) error {
	p, err := startProgram(command)
	if err == nil {
		s.programs = append(s.programs, p)
	}
	return err
}

// missing says that a server is not installed, and which Debian packages have it.
type missing struct{ packages string }

func (m missing) Error() string { return "needs " + m.packages + ": apt-get install " + m.packages }

// find finds a program. Debian keeps servers where the PATH of most users does not lead.
func find(name, packages string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	if path, err := exec.LookPath("/usr/sbin/" + name); err == nil {
		return path, nil
	}
	return "", missing{packages}
}

// hasModule tells whether a server's module is installed.
func hasModule(path, packages string) error {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return missing{packages}
	}
	return err
}

// A starter starts a server in a directory of its own.
type starter struct {
	name  string
	bare  string // what it is compared with
	start func(b *bench, ctx context.Context, s *server, dir string) error
}

// The names of the servers that others are compared with.
const (
	bareCaddy  = "Caddy, `reverse_proxy`"
	bareNginx  = "nginx, `proxy_pass`"
	bareApache = "Apache, `ProxyPass`"
	// dressedCaddy protects nothing either.
	dressedCaddy = "Caddy, `reverse_proxy` that sets the same headers"
)

var starters = []starter{
	{bareCaddy, "", (*bench).startBareCaddy},
	{dressedCaddy, bareCaddy, (*bench).startDressedCaddy},
	{"Portcullis, `introspect`", bareCaddy, (*bench).startPortcullis},
	{"Portcullis, as the others do it", bareCaddy, (*bench).startLikeOthers},
	{"Caddy, `forward_auth` to a caching service", bareCaddy, (*bench).startForwardAuth},
	{bareNginx, "", startNginx(false)},
	{"nginx, `auth_request` and njs", bareNginx, startNginx(true)},
	{bareApache, "", startApache("", "apache2")},
	{"Apache, mod_auth_openidc", bareApache, startApache("mod_auth_openidc.so", "apache2 libapache2-mod-auth-openidc")},
	{"Apache, mod_oauth2", bareApache, startApache("mod_oauth2.so", "apache2 libapache2-mod-oauth2")},
}

func (b *bench) startBareCaddy(_ context.Context, s *server, dir string) error {
	return b.startCaddy(s, dir, bareSite(s.address, b.app))
}

func (b *bench) startDressedCaddy(_ context.Context, s *server, dir string) error {
	return b.startCaddy(s, dir, dressedSite(s.address, b.app))
}

func (b *bench) startLikeOthers(_ context.Context, s *server, dir string) error {
	return b.startCaddyWith(s, dir, "cache {\nrevalidate off\n}", taciturnSite(s.address, b.app))
}

func (b *bench) startPortcullis(_ context.Context, s *server, dir string) error {
	return b.startCaddy(s, dir, protectedSite(s.address, b.app))
}

func (b *bench) startForwardAuth(ctx context.Context, s *server, dir string) error {
	checker, err := startRole("checker")
	if err != nil {
		return err
	}
	s.players = append(s.players, checker)
	address, err := ask[string](ctx, checker, "Address", nothing(false))
	if err != nil {
		return err
	}
	if _, err := ask[nothing](ctx, checker, "Ask", b.endpoint); err != nil {
		return err
	}
	return b.startCaddy(s, dir, checkedSite(s.address, b.app, address))
}

func (b *bench) startCaddy(s *server, dir, site string) error {
	return b.startCaddyWith(s, dir, "", site)
}

// startCaddyWith starts a Caddy with further lines for the authority.
func (b *bench) startCaddyWith(s *server, dir, lines, site string) error {
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(globalOptions(b.endpoint, lines)+site), 0o600); err != nil {
		return err
	}
	command := exec.Command(b.binary, "run", "--config", file, "--adapter", "caddyfile")
	command.Dir = dir
	command.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	return s.run(command)
}

// startNginx starts nginx, which asks by njs if it protects.
func startNginx(protects bool) func(*bench, context.Context, *server, string) error {
	return func(b *bench, _ context.Context, s *server, dir string) error {
		const packages = "nginx libnginx-mod-http-js"
		program, err := find("nginx", packages)
		if err != nil {
			return err
		}
		const module = "/usr/lib/nginx/modules/ngx_http_js_module.so"
		if err := hasModule(module, packages); err != nil {
			return err
		}
		script, err := peerFiles.ReadFile("peers/introspect.js")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "introspect.js"), script, 0o600); err != nil {
			return err
		}
		settings := b.settings(s, dir)
		if protects {
			settings.Module = module
		}
		file, err := settings.write("nginx.conf")
		if err != nil {
			return err
		}
		return s.run(exec.Command(program, "-p", dir, "-e", "stderr", "-c", file))
	}
}

// startApache starts Apache, with a module that asks unless its name is empty.
func startApache(module, packages string) func(*bench, context.Context, *server, string) error {
	return func(b *bench, _ context.Context, s *server, dir string) error {
		program, err := find("apache2", packages)
		if err != nil {
			return err
		}
		settings := b.settings(s, dir)
		settings.Module = module
		if err := hasModule(settings.Modules+"/"+module, packages); err != nil {
			return err
		}
		file, err := settings.write("apache2.conf")
		if err != nil {
			return err
		}
		return s.run(exec.Command(program, "-d", dir, "-f", file, "-DFOREGROUND"))
	}
}

// settings are what the templates of the configurations of peers are filled with.
type settings struct {
	Address, Backend, Authority string
	Endpoint, SecureEndpoint    string
	ClientID, ClientSecret      string
	Scope, UserHeader           string
	Entries                     int // that a memory of a fixed size has to have room for

	Dir     string
	Modules string // the directory of Apache's modules
	Module  string // the one that protects, or empty
	Root    bool
	User    string
}

func (b *bench) settings(s *server, dir string) *settings {
	return &settings{
		Address:        s.address,
		Backend:        b.app,
		Authority:      strings.TrimSuffix(strings.TrimPrefix(b.endpoint, "http://"), endpointPath),
		Endpoint:       b.endpoint,
		SecureEndpoint: b.secureEndpoint,
		ClientID:       clientID,
		ClientSecret:   clientSecret,
		Scope:          scope,
		UserHeader:     userHeader,
		Entries:        b.outsideTokens + b.outsideTokens/4,
		Dir:            dir,
		Modules:        "/usr/lib/apache2/modules",
		Root:           os.Geteuid() == 0,
	}
}

// Credentials are those of HTTP Basic.
func (s *settings) Credentials() string {
	return base64.StdEncoding.EncodeToString([]byte(s.ClientID + ":" + s.ClientSecret))
}

// write writes a configuration, and returns the name of the file.
func (s *settings) write(name string) (string, error) {
	me, err := user.Current()
	if err != nil {
		return "", err
	}
	s.User = me.Username
	var text bytes.Buffer
	if err := peerTemplates.ExecuteTemplate(&text, name, s); err != nil {
		return "", err
	}
	file := filepath.Join(s.Dir, name)
	return file, os.WriteFile(file, text.Bytes(), 0o600)
}
