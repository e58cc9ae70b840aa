package authserver

import "context"

// client returns the client with an id, or nil.
func (s *Server) client(_ context.Context, id string) (*Client, error) { return s.clients[id], nil }

// user returns the user with a name, or nil.
func (s *Server) user(_ context.Context, name string) (*User, error) { return s.users[name], nil }

// parties returns the client of a token, and its user if it names one.
func (s *Server) parties(ctx context.Context, clientID, username string) (client *Client, user *User, err error) {
	if client, err = s.client(ctx, clientID); err != nil || username == "" {
		return client, nil, err
	}
	user, err = s.user(ctx, username)
	return client, user, err
}
