package authority

import "github.com/portcullis-gateway/portcullis/internal/operator"

// checkLiterals refuses placeholders where what is written counts. An authority would be told of a parameter {env.NAME}.
func (c *Config) checkLiterals() error {
	literal := map[string][]string{
		"assertion_audience": {c.AssertionAudience}, "token_type_hint": {c.TokenTypeHint}, "token_prefix": c.TokenPrefix,
		"param": namesOf(c.Param), "endpoint_param": namesOf(c.EndpointParam), "request_header": namesOf(c.RequestHeader),
	}
	if c.ClientKey != nil {
		literal["client_key"] = []string{c.ClientKey.KeyID}
	}
	if c.BearerFrom != nil {
		literal["bearer_from"] = append([]string{c.BearerFrom.TokenEndpoint}, c.BearerFrom.Scope...)
	}
	if c.JWTResponse != nil {
		literal["jwt_response"] = []string{c.JWTResponse.JWKS, c.JWTResponse.Audience}
	}
	if a := c.Answer; a != nil {
		literal["answer"] = []string{a.Scope, a.Sub, a.Username, a.ClientID, a.Exp}
		if a.Active != nil {
			literal["answer"] = append(literal["answer"], a.Active.Path, a.Active.Value)
		}
	}
	for option, values := range literal {
		if err := operator.CheckLiteral(option, values...); err != nil {
			return err
		}
	}
	return nil
}

func namesOf(pairs []Pair) (names []string) {
	for _, pair := range pairs {
		names = append(names, pair.Name)
	}
	return names
}
