package permission

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/consentwire/consentwire/internal/fault"
)

// The limits; lengths are in Unicode code points. Those marked ours have no
// source: they bound what one request can cost.
const (
	MaxID          = 100    // ours: IDs and references that an owner chooses
	MaxName        = 200    // ours: names and labels
	MaxDescription = 2_000  // ours
	MaxText        = 50_000 // ours: the text of a statement or a policy
	MaxURL         = 2_000  // as every URL: DOMAIN 7.9
	MaxLanguage    = 35     // RFC 5646, section 4.4.1: the length to be provided for
	MaxOptions     = 100    // ours: options of a group
	MaxChoices     = 100    // ours: alternatives of a preference

	MaxChanges     = 100   // ours: changes of a transaction
	MaxPreferences = 100   // ours: preferences of a transaction
	MaxEntries     = 1_000 // ours: what a transaction's changes may come to when its groups are resolved
	MaxCitizenRef  = 255   // ours: citizenId and externalRef
	MaxChannel     = 100   // ours: channel and campaign
	MaxActor       = 255   // ours: IDs and names of who recorded a transaction

	// MaxAhead is how far obtainedAt may lie ahead of our clock, itself inside.
	// Source: DOMAIN 7.9, "permission change".
	MaxAhead = 5 * time.Minute

	minYear, maxYear = 1900, 9999 // ours; RFC 3339 has four digits
)

// The codes of the faults in a request.
const (
	CodeRequired         = "required"
	CodeTooLong          = "too_long"
	CodeTooMany          = "too_many"
	CodeInvalidValue     = "invalid_value"
	CodeInvalidCharacter = "invalid_character"
	CodeInvalidURL       = "invalid_url"
	CodeInvalidLanguage  = "invalid_language"
	CodeDuplicate        = "duplicate"
	CodeOutOfRange       = "out_of_range"
	CodeUnknown          = "unknown"           // what is named does not exist
	CodeArchived         = "archived"          // it exists, but is no longer asked about
	CodeMismatch         = "mismatch"          // an ID and a reference name two things
	CodeNotAllowed       = "state_not_allowed" // the justification has no such state
	CodeInFuture         = "in_the_future"
	CodeInUse            = "in_use"    // cannot change any more: a transaction refers to it
	CodeImmutable        = "immutable" // never changes
)

// faults collects what is wrong with a request.
type faults []fault.Field

func (fs *faults) add(path, code, msg string) {
	*fs = append(*fs, fault.Field{Path: path, Code: code, Msg: msg})
}

func (fs *faults) required(path string) { fs.add(path, CodeRequired, "This member is required.") }

// text checks a text that may be empty or absent and returns it; lines tells
// whether it may have several.
func (fs *faults) text(path string, s *string, most int, lines bool) string {
	if s == nil {
		return ""
	}
	if utf8.RuneCountInString(*s) > most {
		fs.add(path, CodeTooLong, fmt.Sprintf("The text must have at most %d characters.", most))
	}
	switch {
	case !utf8.ValidString(*s):
		fs.add(path, CodeInvalidCharacter, "The text must be valid UTF-8.")
	case lines && strings.ContainsFunc(*s, func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\t\n\r", r) }):
		fs.add(path, CodeInvalidCharacter, "The text must not hold control characters other than line ends and tabs.")
	case !lines && strings.ContainsFunc(*s, unicode.IsControl):
		fs.add(path, CodeInvalidCharacter, "The text must not hold control characters.")
	}
	return *s
}

// label checks a text of one line that must be there.
func (fs *faults) label(path string, s *string, most int) string {
	if s == nil || strings.TrimSpace(*s) == "" {
		fs.required(path)
		return ""
	}
	return fs.text(path, s, most, false)
}

// key checks an ID or a reference that an owner chooses: not empty, no control
// character, no white space at its ends, and no path segment that means
// another place.
func (fs *faults) key(path string, s *string, most int) string {
	if s == nil || *s == "" {
		fs.required(path)
		return ""
	}
	if strings.TrimSpace(*s) != *s || *s == "." || *s == ".." {
		fs.add(path, CodeInvalidValue, `It must not begin or end with white space, nor be "." or "..".`)
		return *s
	}
	return fs.text(path, s, most, false)
}

// chosen checks a key that an owner may leave to us.
func (fs *faults) chosen(path string, s *string) string {
	if s == nil {
		return ""
	}
	return fs.key(path, s, MaxID)
}

// own checks a key that names the thing itself and never changes; cur is empty
// while it is made.
func (fs *faults) own(path string, s *string, cur string, optional bool) string {
	switch {
	case cur == "" && optional:
		return fs.chosen(path, s)
	case cur == "":
		return fs.key(path, s, MaxID)
	case s != nil && *s != cur:
		fs.add(path, CodeImmutable, "It names the thing and never changes.")
	}
	return cur
}

// fixed notes a fault when what a transaction refers to would change.
func (fs *faults) fixed(path string, used bool, was, is string) {
	if used && was != is {
		fs.add(path, CodeInUse, "A transaction refers to it, so this member cannot change any more.")
	}
}

func (fs *faults) oneOf(path string, s *string, values ...string) string {
	switch {
	case s == nil || *s == "":
		fs.required(path)
		return ""
	case !slices.Contains(values, *s):
		fs.add(path, CodeInvalidValue, "The value must be one of "+strings.Join(values, ", ")+".")
	}
	return *s
}

// time checks an instant and returns it in UTC, cut to the millisecond.
func (fs *faults) time(path string, t time.Time) time.Time {
	t = t.UTC().Truncate(time.Millisecond)
	if y := t.Year(); y < minYear || y > maxYear {
		fs.add(path, CodeOutOfRange, fmt.Sprintf("The year must be from %d to %d.", minYear, maxYear))
	}
	return t
}
