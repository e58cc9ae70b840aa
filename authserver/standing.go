package authserver

import (
	"context"
	"net/http"
)

// handOut answers with tokens that have been kept.
func (s *Server) handOut(ctx context.Context, request *tokenRequest, g *grant, issued *issuance) (map[string]any, error) {
	if err := s.stands(ctx, request, g); err != nil {
		return nil, err
	}
	return issued.members, nil
}

// stands refuses to hand out tokens that have just been kept, if their client or user was disabled, deleted or changed
// meanwhile, and revokes them. Whoever disables somebody revokes the tokens afterwards: either he finds these, or they
// find out here. What is remembered does not count, since another process may have done it.
func (s *Server) stands(ctx context.Context, request *tokenRequest, g *grant) error {
	client, err := s.party(ctx, request.client.ID, s.state.directory.ask)
	if err != nil {
		return err
	}
	if client == nil || client.client == nil || client.client.generation != request.client.generation {
		return s.takeBack(ctx, g, refuse(http.StatusUnauthorized, "invalid_client", "client authentication failed"))
	}
	if g.user == nil {
		return nil
	}
	user, err := s.party(ctx, g.user.Name, s.state.directory.ask)
	if err != nil {
		return err
	}
	if user == nil || user.user == nil || user.user.generation != g.user.generation {
		return s.takeBack(ctx, g, errInvalidGrant)
	}
	return nil
}

func (s *Server) takeBack(ctx context.Context, g *grant, refusal error) error {
	if err := s.store.RevokeFamily(ctx, g.family); err != nil {
		return err
	}
	return refusal
}
