package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"github.com/portcullis-gateway/portcullis/introspect"
)

// Requirement is a rule in the Common Expression Language over what the authority says of a token and over the request.
// It is immutable and safe for concurrent use.
type Requirement struct {
	text    string
	program cel.Program
}

const (
	// maxCost bounds what one evaluation may cost, in CEL's own units: a client chooses what it is evaluated on. It is enough
	// for a few thousand elements of a list. Counting takes time that grows with the square of the cost, so that this is
	// some ten milliseconds at most.
	maxCost = 20_000
	// maxExpression bounds the length of an expression, in bytes.
	maxExpression = 16 << 10
)

// environment is what expressions may use.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable("claims", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("scopes", cel.ListType(cel.StringType)),
		cel.Variable("request.method", cel.StringType),
		cel.Variable("request.path", cel.StringType),
		cel.Variable("request.host", cel.StringType),
		cel.Variable("now", cel.TimestampType),
		cel.OptionalTypes(),
		// Claims are of any type, so that a literal in a comparison need not be of the same kind of number.
		cel.CrossTypeNumericComparisons(true),
		ext.Strings(),
	)
})

// NewRequirement compiles an expression. It knows `claims` (the members of the answer), `scopes` (those granted),
// `request.method`, `request.path` (with dot segments and repeated slashes resolved), `request.host` (without port) and
// `now`. The error says where it is wrong.
func NewRequirement(text string) (*Requirement, error) {
	if len(text) > maxExpression {
		return nil, fmt.Errorf("the expression is longer than %d bytes", maxExpression)
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	if kind := ast.OutputType(); kind != cel.BoolType && kind != cel.DynType {
		return nil, fmt.Errorf("the expression is of type %s, and has to be true or false", kind)
	}
	program, err := env.Program(ast, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, err
	}
	return &Requirement{text: text, program: program}, nil
}

// met tells whether the expression is true. What it cannot be evaluated on does not meet it.
func (r *Requirement) met(answer *introspect.Answer, now time.Time, request *http.Request) error {
	result, _, err := r.program.Eval(map[string]any{
		"claims":         nativeObject(answer.Claims()),
		"scopes":         answer.Scopes(),
		"request.method": request.Method,
		"request.path":   cleanPath(request.URL.Path),
		"request.host":   hostname(request.Host),
		"now":            now,
	})
	switch {
	case err != nil:
		return errors.New("it cannot be evaluated")
	case result != ref.Val(types.True):
		return errors.New("it is not true")
	}
	return nil
}

// cleanPath resolves what a matcher of Caddy would resolve, so that no spelling of a path gets around an expression.
func cleanPath(p string) string {
	cleaned := path.Clean("/" + p)
	if cleaned != "/" && strings.HasSuffix(p, "/") {
		cleaned += "/"
	}
	return cleaned
}

// hostname is a Host header without its port, without the brackets of an IPv6 address, and without the dot at the end of a name,
// with which backends take it for the same, in lower case.
func hostname(host string) string {
	if bracket := strings.LastIndexByte(host, ']'); strings.HasPrefix(host, "[") && bracket > 0 {
		return strings.ToLower(host[1:bracket])
	}
	if colon := strings.IndexByte(host, ':'); colon >= 0 {
		host = host[:colon]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func nativeObject(o introspect.Object) map[string]any {
	members := make(map[string]any)
	for name, value := range o.All() {
		members[name] = native(value)
	}
	return members
}

// native turns a claim into what CEL takes for it. A number is an integer if it is written as one that fits.
func native(value any) any {
	switch value := value.(type) {
	case json.Number:
		if whole, err := value.Int64(); err == nil {
			return whole
		}
		// The only error is one of range, for which the number is infinite.
		float, _ := value.Float64()
		return float
	case []any:
		elements := make([]any, len(value))
		for i := range value {
			elements[i] = native(value[i])
		}
		return elements
	case introspect.Object:
		return nativeObject(value)
	}
	return value
}
