package main

import (
	"fmt"
	"net/http"
)

// Backend is what the gateways protect. It tells who came, by the header of that name.
type Backend struct{ listening }

const userHeader = "Remote-User"

func newBackend() (any, error) {
	server, err := serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"order":4711,"total":"12.50","currency":"EUR","user":%q}`, r.Header.Get(userHeader)) // the gateway hung up
	})
	return &Backend{server}, err
}
