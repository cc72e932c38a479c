package permission_test

import (
	"fmt"
	"time"

	"github.com/consentwire/consentwire/internal/fault"
	"github.com/consentwire/consentwire/internal/permission"
)

var t0 = time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

var archived = permission.Life{Used: true, ArchivedAt: t0}

var options = []permission.Option{
	{ID: "opt-a", DataID: "email", PurposeID: "news", PartyID: "us"},
	{ID: "opt-b", DataID: "phone", PurposeID: "news", PartyID: "us"},
	{ID: "opt-c", DataID: "email", PurposeID: "research", PartyID: "them"},
	{ID: "opt-d", DataID: "post", PurposeID: "news", PartyID: "us"},
}

var groups = []permission.Group{
	{ID: "grp-ab", Options: []permission.OptionID{"opt-a", "opt-b"}},
	{ID: "grp-bcx", Options: []permission.OptionID{"opt-c", "opt-x", "opt-b"}},
}

var preferences = []permission.Preference{
	{Reference: "pace", Label: "How often", Type: permission.SingleChoice, Choices: []permission.Alternative{
		{Reference: "daily", Label: "Daily"}, {Reference: "weekly", Label: "Weekly"},
	}},
	{Reference: "topics", Label: "Topics you like", Type: permission.MultiChoice, Choices: []permission.Alternative{
		{Reference: "topics_jazz", Label: "Jazz"}, {Reference: "topics_folk", Label: `Folk & "more"`}, {Reference: "topics_rock", Label: "Rock"},
	}},
}

// catalogue holds the above, one archived thing of each kind, and two versions
// of what is shown.
func catalogue() *permission.Catalogue {
	return permission.NewCatalogue(
		append([]permission.Option{{ID: "opt-x", Life: archived}}, options...),
		append([]permission.Group{
			{ID: "grp-x", Life: archived, Options: []permission.OptionID{"opt-a"}},
			{ID: "grp-only-x", Options: []permission.OptionID{"opt-x"}},
		}, groups...),
		append([]permission.Preference{{Reference: "old", Label: "Old", Type: permission.SingleChoice, Life: archived}}, preferences...),
		[]permission.Statement{
			{ID: "ps-8", Reference: "newsletter-v2", Text: "May we write?", Version: 2},
			{ID: "ps-x", Reference: "old", Text: "May we?", Version: 1, Life: archived},
		},
		[]permission.Policy{
			{ID: "pp-3", Reference: "privacy-2026", URL: "https://example.org/privacy", Version: 3},
			{ID: "pp-x", Reference: "old", Version: 1, Life: archived},
		},
	)
}

// places renders faults as "path code", in their order.
func places(fs []fault.Field) string {
	var out []string
	for _, f := range fs {
		if f.Msg == "" {
			out = append(out, "(no sentence)")
		}
		out = append(out, f.Path+" "+f.Code)
	}
	return fmt.Sprint(out)
}
