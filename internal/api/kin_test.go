package api

import (
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// TestDocument_isValidOpenAPI asks a validator that is not ours. It has a tag
// of its own, so that only this test needs what the validator needs.
func TestDocument_isValidOpenAPI(t *testing.T) {
	t.Parallel()
	doc, err := openapi3.NewLoader().LoadFromData(document((&server{}).operations(), "1.2.3"))
	if err != nil {
		t.Fatal(err)
	}
	if !doc.IsOpenAPI31OrLater() {
		t.Errorf("got version %s, want 3.1", doc.OpenAPI)
	}
	if err := doc.Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
		t.Error(err)
	}
}
