package shim

import (
	"errors"
	"net/http"
	"strings"

	"github.com/portcullis-gateway/portcullis/authserver/store"
)

func listTokens(c *call) error {
	parameters, err := c.parameters("user", "client", "all", "after", "limit")
	if err != nil {
		return err
	}
	limit, err := limitOf(parameters)
	if err != nil {
		return err
	}
	all := parameters["all"]
	if all != "" && all != "true" && all != "false" {
		return apiError(http.StatusBadRequest, errors.New(`"all" must be true or false`))
	}
	holder := store.Holder{Subject: parameters["user"], ClientID: parameters["client"]}
	found, next, err := c.server.Tokens(c.ctx(), holder, all == "true", parameters["after"], limit)
	if err != nil {
		return err
	}
	return c.write(http.StatusOK, pageOf(found, next))
}

// revokeTokens revokes one token, what came of one authorization, or what somebody holds.
func revokeTokens(c *call) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	var which struct {
		Token  *string `json:"token"`
		Family *string `json:"family"`
		User   *string `json:"user"`
		Client *string `json:"client"`
	}
	if err := decodeAdmin(body, &which); err != nil {
		return err
	}
	bad := func(text string) error { return apiError(http.StatusBadRequest, errors.New(text)) }
	holder := which.User != nil || which.Client != nil
	for _, one := range []*string{which.Token, which.Family, which.User, which.Client} {
		if one != nil && *one == "" {
			return bad("what is to be revoked must not be empty")
		}
	}
	switch {
	case which.Token != nil && which.Family == nil && !holder:
		err = c.server.RevokeToken(c.ctx(), strings.TrimSpace(*which.Token))
	case which.Family != nil && which.Token == nil && !holder:
		err = c.server.RevokeFamily(c.ctx(), *which.Family)
	case holder && which.Token == nil && which.Family == nil:
		var whose store.Holder
		if which.User != nil {
			whose.Subject = *which.User
		}
		if which.Client != nil {
			whose.ClientID = *which.Client
		}
		err = c.server.RevokeAll(c.ctx(), whose)
	default:
		return bad(`what is to be revoked? One of "token", "family", or "user" and "client", of which both narrow it down`)
	}
	if err != nil {
		return err
	}
	return c.done()
}

func listSessions(c *call) error {
	parameters, err := c.parameters("user", "after", "limit")
	if err != nil {
		return err
	}
	limit, err := limitOf(parameters)
	if err != nil {
		return err
	}
	found, next, err := c.server.Sessions(c.ctx(), parameters["user"], parameters["after"], limit)
	if err != nil {
		return err
	}
	return c.write(http.StatusOK, pageOf(found, next))
}

// revokeSessions ends one session, or all of a user.
func revokeSessions(c *call) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	var which struct {
		ID   string `json:"id"`
		User string `json:"user"`
	}
	if err := decodeAdmin(body, &which); err != nil {
		return err
	}
	switch {
	case which.ID != "" && which.User == "":
		err = c.server.EndSession(c.ctx(), which.ID)
	case which.User != "" && which.ID == "":
		err = c.server.EndSessions(c.ctx(), which.User)
	default:
		return apiError(http.StatusBadRequest, errors.New(`which session is to end? Either the one with an "id", or all of a "user"`))
	}
	if err != nil {
		return err
	}
	return c.done()
}
