package resource

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
)

// Directory is the protected resources of a configuration. It is immutable; nil is one without any.
type Directory struct {
	described map[string]*Description // by their identifiers
	hosts     map[string]map[string][]byte
}

// With returns the directory with one more description. Those of one resource are joined.
func (d *Directory) With(description Description) (*Directory, error) {
	problem := func(err error) error { return fmt.Errorf("resource %q: %w", description.Resource, err) }
	if err := description.check(); err != nil {
		return nil, problem(err)
	}
	next := &Directory{described: make(map[string]*Description), hosts: make(map[string]map[string][]byte)}
	if d != nil {
		maps.Copy(next.described, d.described)
	}
	if before, ok := next.described[description.Resource]; ok {
		joined, err := before.joined(&description)
		if err != nil {
			return nil, problem(err)
		}
		description = *joined
	}
	next.described[description.Resource] = &description
	for identifier, description := range next.described {
		if err := next.publish(identifier, description); err != nil {
			return nil, err
		}
	}
	return next, nil
}

// publish puts a document where clients look for it.
func (d *Directory) publish(identifier string, description *Description) error {
	at, err := locate(identifier)
	if err != nil {
		return err
	}
	document, err := json.Marshal(description.document())
	if err != nil {
		return fmt.Errorf("resource %q: %w", identifier, err)
	}
	for _, host := range at.hosts {
		if d.hosts[host] == nil {
			d.hosts[host] = make(map[string][]byte)
		}
		if _, taken := d.hosts[host][at.target]; taken {
			return fmt.Errorf("resource %q: another resource has its document at the same place", identifier)
		}
		d.hosts[host][at.target] = document
	}
	return nil
}

// IsAt tells whether there are resources at a host, which may have a port.
func (d *Directory) IsAt(host string) bool {
	return d != nil && d.hosts[strings.ToLower(host)] != nil
}

// Document returns the document at a path of a host, or nil. The path is as it was sent, and so is the query, which does
// not count unless a resource has one.
func (d *Directory) Document(host, path, query string) []byte {
	if d == nil {
		return nil
	}
	documents := d.hosts[strings.ToLower(host)]
	if document := documents[path+"?"+query]; document != nil {
		return document
	}
	return documents[path]
}
