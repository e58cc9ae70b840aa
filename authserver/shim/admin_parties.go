package shim

import (
	"context"
	"net/http"
)

// Page is a part of a list.
type Page[T any] struct {
	// Items are never null.
	Items []T `json:"items"`
	// Next is the parameter `after` of the next page; absent on the last.
	Next string `json:"next,omitempty"`
}

func listOf[T any](c *call, list func(ctx context.Context, after string, limit int) ([]T, string, error)) error {
	parameters, err := c.parameters("after", "limit")
	if err != nil {
		return err
	}
	limit, err := limitOf(parameters)
	if err != nil {
		return err
	}
	found, next, err := list(c.ctx(), parameters["after"], limit)
	if err != nil {
		return err
	}
	return c.write(http.StatusOK, pageOf(found, next))
}

func pageOf[T any](found []T, next string) Page[T] {
	if found == nil {
		found = []T{}
	}
	return Page[T]{found, next}
}

// add adds what the body says.
func add[C, S any](c *call, add func(context.Context, C) (S, error)) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	var change C
	if err := decodeAdmin(body, &change); err != nil {
		return err
	}
	status, err := add(c.ctx(), change)
	if err != nil {
		return err
	}
	return c.write(http.StatusCreated, status)
}

// get answers with an item.
func get[S any](c *call, get func(context.Context, string) (S, error)) error {
	status, err := get(c.ctx(), c.item)
	if err != nil {
		return err
	}
	return c.write(http.StatusOK, status)
}

// change changes of an item what the body says (RFC 7396).
func change[C, S any](c *call, change func(context.Context, string, func(*C) error) (S, error)) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	status, err := change(c.ctx(), c.item, func(document *C) error { return decodeAdmin(body, document) })
	if err != nil {
		return err
	}
	return c.write(http.StatusOK, status)
}

func remove(c *call, remove func(context.Context, string) error) error {
	if err := remove(c.ctx(), c.item); err != nil {
		return err
	}
	return c.done()
}

func listClients(c *call) error  { return listOf(c, c.server.Clients) }
func addClient(c *call) error    { return add(c, c.server.AddClient) }
func getClient(c *call) error    { return get(c, c.server.ClientByID) }
func changeClient(c *call) error { return change(c, c.server.ChangeClient) }
func deleteClient(c *call) error { return remove(c, c.server.DeleteClient) }

func listUsers(c *call) error  { return listOf(c, c.server.Users) }
func addUser(c *call) error    { return add(c, c.server.AddUser) }
func getUser(c *call) error    { return get(c, c.server.UserByName) }
func changeUser(c *call) error { return change(c, c.server.ChangeUser) }
func deleteUser(c *call) error { return remove(c, c.server.DeleteUser) }
