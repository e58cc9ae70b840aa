package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// issuingClients is how many clients get tokens at the same time.
	issuingClients = 64
	// askingID is the client that introspects. The client that gets tokens is clientID; both have the same secret.
	askingID = "resource-server"
)

// issuing measures the embedded authorization server over HTTP: tokens that are issued, each on the disk before the
// response, and tokens that are introspected.
func (b *bench) issuing(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "portcullis-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	addresses, err := freeAddresses(1)
	if err != nil {
		return err
	}
	gateway, err := startRole("gateway")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gateway.stop()) }()
	if _, err := ask[nothing](ctx, gateway, "Load", issuingCaddyfile(addresses[0], filepath.Join(dir, "tokens.db"))); err != nil {
		return err
	}
	issue := formText("/oauth2/token", clientID, url.Values{"grant_type": {"client_credentials"}})
	token, err := getToken(ctx, addresses[0])
	if err != nil {
		return err
	}
	rows := [][]string{{"request", "CPU, µs per request", "requests per second"}}
	for _, c := range []struct{ name, text string }{
		{"a token is issued", issue},
		{"a token is introspected", formText("/oauth2/introspect", askingID, url.Values{"token": {token}})},
	} {
		var measured figures
		for range b.rounds {
			before, err := ask[time.Duration](ctx, gateway, "CPU", nothing(false))
			if err != nil {
				return err
			}
			sent, err := b.send(ctx, Plan{Address: addresses[0], Connections: issuingClients, Requests: b.requests, Text: c.text})
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			after, err := ask[time.Duration](ctx, gateway, "CPU", nothing(false))
			if err != nil {
				return err
			}
			measured.cpu = append(measured.cpu, float64((after-before).Microseconds())/float64(b.requests))
			measured.rate = append(measured.rate, float64(b.requests)/sent.Elapsed.Seconds())
		}
		rows = append(rows, []string{c.name, measured.cpu.show(1), measured.rate.show(0)})
	}
	b.table(fmt.Sprintf("The authorization server over HTTP, %d clients, file store, %d rounds of %d requests", issuingClients, b.rounds, b.requests), rows...)
	return nil
}

// issuingCaddyfile is a Caddy that is an authorization server and nothing else.
func issuingCaddyfile(address, file string) string {
	return fmt.Sprintf(`{
	admin off
	auto_https off
	persist_config off
	default_bind 127.0.0.1
	log default {
		level ERROR
	}
	authorization_server {
		issuer http://%s
		store file %s
		client %s %s {
			grants client_credentials
			scopes %s
		}
		client %s %s {
			introspect
		}
	}
}
`, address, file, clientID, clientSecret, scope, askingID, clientSecret) + site(address, "authorization_server")
}

// formText is a request with a form from a client that signs in.
func formText(path, id string, form url.Values) string {
	body := form.Encode()
	return "POST " + path + " HTTP/1.1\r\n" +
		"Host: api.example.com\r\n" +
		"Accept: application/json\r\n" +
		"User-Agent: bench\r\n" +
		"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+clientSecret)) + "\r\n" +
		"Content-Type: application/x-www-form-urlencoded\r\n" +
		fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body
}

// getToken gets a token.
func getToken(ctx context.Context, address string) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(clientID, clientSecret)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var members struct {
		AccessToken string `json:"access_token"`
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(response.Body).Decode(&members); err != nil {
		return "", err
	}
	if members.AccessToken == "" {
		return "", fmt.Errorf("no token: %s: %s", response.Status, members.Description)
	}
	return members.AccessToken, nil
}
