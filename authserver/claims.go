package authserver

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
)

// scopeClaims are the claims that a scope is for (OpenID Connect Core section 5.4).
var scopeClaims = map[string][]string{
	"profile": {
		"name", "family_name", "given_name", "middle_name", "nickname", "preferred_username", "profile", "picture", "website",
		"gender", "birthdate", "zoneinfo", "locale", "updated_at",
	},
	"email":   {"email", "email_verified"},
	"address": {"address"},
	"phone":   {"phone_number", "phone_number_verified"},
}

// protocolClaims are those of ID tokens themselves (OpenID Connect Core section 2).
var protocolClaims = []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash"}

// isStandardClaim says whether one of the scopes of OpenID Connect is for a claim.
func isStandardClaim(name string) bool {
	for _, names := range scopeClaims {
		if slices.Contains(names, name) {
			return true
		}
	}
	return false
}

// typedClaims reads what the operator has written for the claims that are no strings (OpenID Connect Core section 5.1).
var typedClaims = map[string]func(text string) (any, error){
	"email_verified":        readBoolean,
	"phone_number_verified": readBoolean,
	"updated_at": func(text string) (any, error) {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seconds < 0 || seconds > lastInstant {
			return nil, errors.New("must be a time in seconds since 1970")
		}
		return seconds, nil
	},
	// Section 5.1.1. An address that is no JSON object is one that is written as on a letter.
	"address": func(text string) (any, error) {
		var members map[string]string
		if err := json.Unmarshal([]byte(text), &members); err == nil && len(members) > 0 {
			return members, nil
		}
		if text == "" || text[0] == '{' {
			return nil, errors.New("must be an address, or a JSON object of strings such as {\"locality\":\"Oslo\"}")
		}
		return map[string]string{"formatted": text}, nil
	},
}

func readBoolean(text string) (any, error) {
	if text != "true" && text != "false" {
		return nil, errors.New("must be true or false")
	}
	return text == "true", nil
}

// checkClaim demands of the claims of OpenID Connect what they are there.
func checkClaim(name string, values []string) error {
	if isStandardClaim(name) && len(values) != 1 {
		return errors.New("has one value (OpenID Connect Core section 5.1)")
	}
	if read, ok := typedClaims[name]; ok {
		_, err := read(values[0])
		return err
	}
	return nil
}

// claimValue is a claim as a member of a JSON document: a string, an array of several, or what it is in OpenID Connect.
func claimValue(name string, values []string) any {
	if len(values) != 1 {
		return values
	}
	if read, ok := typedClaims[name]; ok {
		if value, err := read(values[0]); err == nil {
			return value
		}
	}
	return values[0]
}

// released are the claims about a user that the scopes of a token are for. One that OpenID Connect does not know needs a
// scope of its own name.
func released(user *User, scopes []string) map[string]any {
	claims := map[string]any{"sub": user.Name}
	if slices.Contains(scopes, "profile") {
		claims["preferred_username"] = user.Name
	}
	for name, values := range user.Claims {
		isFor := func(scope string) bool {
			return slices.Contains(scopeClaims[scope], name) || scope == name && !isStandardClaim(name)
		}
		if len(values) > 0 && slices.ContainsFunc(scopes, isFor) {
			claims[name] = claimValue(name, values)
		}
	}
	return claims
}
