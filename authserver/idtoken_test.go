package authserver

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestP06_AccessHash(t *testing.T) {
	assert.Equal(t, "77QmUPtjPfzWtF2AnpK9RQ", accessHash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"), "OpenID Connect Core appendix A.3")
}
