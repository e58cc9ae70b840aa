package introspect

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// read judges a response by its status, type and body (RFC 7662 sections 2.2 and 2.3).
func (c *Client) read(ctx context.Context, response *reply, token Token, askedAt time.Time) (answer *Answer, again bool, err error) {
	status, body := response.status, response.body
	switch {
	case status == http.StatusOK && c.signed != nil:
		answer, err = c.signed.read(ctx, response, c.shape, token, askedAt)
		return answer, false, err
	case status == http.StatusOK:
		if !isJSON(response.contentType) {
			return nil, false, fmt.Errorf("%w: status 200 with a content type that is not JSON", ErrMalformed)
		}
		answer, err = c.shape.Parse(body, askedAt)
		return answer, false, err
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return nil, false, fmt.Errorf("%w: status %d%s", ErrCredentials, status, errorCode(body))
	case status == http.StatusBadRequest:
		// The server knows of no introspection for tokens of this kind: to it the token is not active.
		if errorCode(body) == errorCodes["unsupported_token_type"] {
			return &Answer{AskedAt: askedAt, Source: Miss}, false, nil
		}
		if errorCode(body) == errorCodes["invalid_client"] {
			return nil, false, fmt.Errorf("%w: status 400%s", ErrCredentials, errorCode(body))
		}
		return nil, false, fmt.Errorf("%w: status 400%s", ErrMalformed, errorCode(body))
	}
	again, err = failure(status)
	return nil, again, err
}

// failure judges a status that is no success and says nothing of the request.
func failure(status int) (again bool, err error) {
	switch {
	case status == http.StatusTooManyRequests:
		return false, fmt.Errorf("%w: status 429", errBusy)
	case status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout:
		return true, fmt.Errorf("%w: status %d", ErrUnavailable, status)
	case status >= 500:
		return false, fmt.Errorf("%w: status %d", ErrUnavailable, status)
	case status >= 300 && status < 400:
		return false, fmt.Errorf("%w: status %d, and redirects are not followed", ErrMalformed, status)
	}
	return false, fmt.Errorf("%w: status %d", ErrMalformed, status)
}

// callError tells slowness from absence, and drops the URL, which may hold parameters that are nobody's business.
func callError(ctx context.Context, doing string, err error) error {
	if urlError, ok := errors.AsType[*url.Error](err); ok {
		err = urlError.Err
	}
	var netError net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("%s: %w", doing, context.Canceled)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netError) && netError.Timeout():
		return fmt.Errorf("%w: %s", ErrTimeout, doing)
	}
	return fmt.Errorf("%w: %s: %s", ErrUnavailable, doing, cause(err))
}

// cause names what went wrong on the connection, from the errors that hold nothing of what the authority sent.
func cause(err error) string {
	var (
		operation   *net.OpError
		certificate *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &certificate):
		return certificate.Error()
	case errors.As(err, &operation):
		return operation.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	return "no HTTP response"
}

// isJSON accepts what calls itself JSON, and an answer that says nothing of its type.
func isJSON(contentType string) bool {
	if contentType == "" || contentType == "application/json" {
		return true
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && (mediaType == "application/json" || strings.HasSuffix(mediaType, "+json"))
}

// errorCodes are the codes of RFC 6749 section 5.2, RFC 6750 section 3.1 and RFC 7009 section 2.2.1 as they are shown
// in an error text. Nothing else that an authority sends is repeated.
var errorCodes = map[string]string{
	"invalid_request":        " (invalid_request)",
	"invalid_client":         " (invalid_client)",
	"invalid_grant":          " (invalid_grant)",
	"unauthorized_client":    " (unauthorized_client)",
	"unsupported_grant_type": " (unsupported_grant_type)",
	"invalid_scope":          " (invalid_scope)",
	"invalid_token":          " (invalid_token)",
	"insufficient_scope":     " (insufficient_scope)",
	"unsupported_token_type": " (unsupported_token_type)",
}

func errorCode(body []byte) string {
	var members map[string]any
	if json.Unmarshal(body, &members) != nil {
		return ""
	}
	code, _ := members["error"].(string)
	return errorCodes[code]
}
