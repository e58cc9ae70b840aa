package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// connectTimeout is how long connecting may take, where the connection string does not say.
	connectTimeout = 5 * time.Second
	// acquireTimeout is how long a call waits for one of the connections.
	acquireTimeout = 5 * time.Second
	// statementTimeout is after which time the server gives a statement up.
	statementTimeout = 5 * time.Second
	// callTimeout is after which time a connection is given up whose server does not even say that.
	callTimeout = 10 * time.Second
	// maxConnections is how many connections a store has at most, where the connection string does not say.
	maxConnections = 16
)

// session is what every connection begins with: a commit waits for the disk, though the server be set up otherwise,
// and a statement that had to wait for another transaction sees what that one has done.
var session = fmt.Sprintf(`select
	set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off';
select
	set_config('default_transaction_isolation', 'read committed', false),
	set_config('statement_timeout', '%[1]d', false),
	set_config('idle_in_transaction_session_timeout', '%[1]d', false)`, statementTimeout.Milliseconds())

var errFile = errors.New("a file that the connection string names cannot be read")

// checkForm says what is wrong with a connection string, whatever files are there.
func checkForm(dsn string) error {
	if _, err := parse(dsn); err != nil && !errors.Is(err, errFile) {
		return err
	}
	return nil
}

// parse reads a connection string. Its errors say nothing of what stands in it: what cannot be parsed may well be a
// password.
func parse(dsn string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(dsn)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return nil, errFile
	case err != nil:
		return nil, errors.New("the connection string cannot be parsed: it is a URL, " +
			"postgres://user:password@host:5432/database?sslmode=verify-full, where special characters are percent-encoded, " +
			"or a list of pairs, host=db.example.com user=portcullis password='…' dbname=portcullis sslmode=verify-full")
	}
	// The pool takes its own parameters out of what it parses.
	connection, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("the connection string cannot be parsed")
	}
	if _, said := connection.RuntimeParams["pool_max_conns"]; !said {
		config.MaxConns = maxConnections
	}
	config.PingTimeout = cmp.Or(config.PingTimeout, acquireTimeout)
	config.ConnConfig.ConnectTimeout = cmp.Or(config.ConnConfig.ConnectTimeout, connectTimeout)
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "portcullis"
	}
	config.AfterConnect = begin
	return config, nil
}

// begin prepares a new connection.
func begin(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, session)
	return err
}

// server is one of those that a connection string names.
type server struct {
	host string
	port uint16
	safe bool // nobody on the way can read along, or say that he is it
}

func servers(config *pgx.ConnConfig) []server {
	all := []server{{config.Host, config.Port, isSafe(&config.Config, config.Host)}}
	for _, fallback := range config.Fallbacks {
		one := config.Config
		one.TLSConfig = fallback.TLSConfig
		all = append(all, server{fallback.Host, fallback.Port, isSafe(&one, fallback.Host)})
	}
	return all
}

func isSafe(config *pgconn.Config, host string) bool {
	if network, _ := pgconn.NetworkAddress(host, config.Port); network == "unix" || host == "localhost" {
		return true
	}
	if address := net.ParseIP(host); address != nil && address.IsLoopback() {
		return true
	}
	return config.TLSConfig != nil && !config.TLSConfig.InsecureSkipVerify
}

// place names the database, by all that decides which tables are meant.
func place(config *pgxpool.Config) string {
	var addresses []string
	for _, one := range servers(config.ConnConfig) {
		address := net.JoinHostPort(one.host, strconv.Itoa(int(one.port)))
		if !slices.Contains(addresses, address) {
			addresses = append(addresses, address)
		}
	}
	words := []string{"postgres", fmt.Sprintf("%s@%s/%s",
		config.ConnConfig.User, strings.Join(addresses, ","), config.ConnConfig.Database)}
	for _, parameter := range []string{"search_path", "options"} {
		if value := config.ConnConfig.RuntimeParams[parameter]; value != "" {
			words = append(words, parameter+"="+value)
		}
	}
	return strings.Join(words, " ")
}
