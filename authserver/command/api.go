package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/portcullis-gateway/portcullis/authserver/shim"
)

// api is the admin API of the process that is managed.
type api struct {
	address, config, adapter string
	json                     bool
}

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 64 << 20

// refusal is what the admin API says about a request that it does not grant.
var refusal = regexp.MustCompile(`(?s)HTTP (\d+): (\{.*\})\s*$`)

// call sends a request, whose body may be nil, and reads the answer into a document, which may be nil.
func (a *api) call(method, path string, query url.Values, body, answer any) error {
	address, err := caddycmd.DetermineAdminAPIAddress(a.address, nil, a.config, a.adapter)
	if err != nil {
		return fmt.Errorf("finding the admin API: %w", err)
	}
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(encoded)
	}
	uri := shim.AdminPath + path
	if len(query) > 0 {
		uri += "?" + query.Encode()
	}
	response, err := caddycmd.AdminAPIRequest(address, method, uri, nil, content)
	if err != nil {
		return explain(err, address)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the answer of the admin API: %w", err)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return errors.New("the answer of the admin API cannot be read: is it of the same version?")
	}
	return nil
}

// explain says what is wrong with a request in the words of the admin API, or else how to reach it.
func explain(err error, address string) error {
	if found := refusal.FindStringSubmatch(err.Error()); found != nil {
		var document struct {
			Error string `json:"error"`
		}
		if json.Unmarshal([]byte(found[2]), &document) == nil && document.Error != "" {
			return errors.New(document.Error)
		}
	}
	return fmt.Errorf("the admin API does not answer at %s: is the server running, and is this its address ('--address' or '--config')? %w", address, err)
}

// list gets all pages of a list.
func list[T any](a *api, path string, query url.Values) ([]T, error) {
	all := []T{}
	if query == nil {
		query = make(url.Values)
	}
	query.Set("limit", "1000")
	for {
		var page shim.Page[T]
		if err := a.call("GET", path, query, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" {
			return all, nil
		}
		query.Set("after", page.Next)
	}
}
