package pgqueue

import "strings"

// named puts the name of a schema into a statement.
func named(statement, schema string) string {
	return strings.ReplaceAll(statement, `"postrider"`, `"`+strings.ReplaceAll(schema, `"`, `""`)+`"`)
}
