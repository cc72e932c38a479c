package postgres

import (
	"regexp"
	"strconv"
	"strings"
)

// The words of SQLite in the store's statements, and what stands for them here.
// A JSON array that is a value becomes a table.
var words = strings.NewReplacer(
	"INSERT OR FAIL INTO", "INSERT INTO",
	"NOT INDEXED", "",
	"x''", "''::bytea",
	"seq IN (SELECT value FROM json_each(?))", "seq IN (SELECT value::bigint FROM json_array_elements_text(?::text::json) AS j(value))",
	"IN (SELECT value FROM json_each(?))", "IN (SELECT value FROM json_array_elements_text(?::text::json) AS j(value))",
	"FROM json_each(?) j", "FROM (SELECT ordinality - 1 AS key, value FROM json_array_elements(?::text::json) WITH ORDINALITY AS t(value, ordinality)) j",
	"MIN(p.start_seq + 1,", "LEAST(p.start_seq + 1,",
	"?3 IS NULL", "?3::bytea IS NULL",
	"= j.value ->> 0", "= (j.value ->> 0)::bigint",
	"= j.value ->> 1", "= (j.value ->> 1)::bigint",
	"= j.value", "= (j.value #>> '{}')::bigint",
	" AS BLOB)", " AS bytea)",
)

var (
	indexedBy = regexp.MustCompile(` INDEXED BY \w+`)
	crossJoin = regexp.MustCompile(`CROSS JOIN (\w+ \w+) ON`)
)

// translate makes a statement of ours one of PostgreSQL's.
func translate(query string) string {
	ignore := strings.HasPrefix(query, "INSERT OR IGNORE INTO")
	if ignore {
		query = strings.Replace(query, "INSERT OR IGNORE INTO", "INSERT INTO", 1)
	}
	query = indexedBy.ReplaceAllString(words.Replace(query), "")
	query = crossJoin.ReplaceAllString(query, "JOIN $1 ON")
	var b strings.Builder
	n, quoted := 0, false
	for i := 0; i < len(query); i++ {
		switch c := query[i]; {
		case c == '\'':
			quoted = !quoted
			b.WriteByte(c)
		case c == '?' && !quoted:
			b.WriteByte('$')
			if i+1 < len(query) && query[i+1] >= '0' && query[i+1] <= '9' {
				continue // it is numbered
			}
			n++
			b.WriteString(strconv.Itoa(n))
		default:
			b.WriteByte(c)
		}
	}
	if ignore {
		b.WriteString(" ON CONFLICT DO NOTHING")
	}
	return b.String()
}
