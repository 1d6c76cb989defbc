package compose

import "html/template"

// english is the page of an Unsubscribe without one.
var english = template.Must(template.New("unsubscribe").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex"><title>Unsubscribe</title></head><body>
{{if .Done}}<p>{{.Address}} is unsubscribed{{with .List}} from {{.}}{{end}}.</p>
{{else}}<form method="post"><p>Unsubscribe {{.Address}}{{with .List}} from {{.}}{{end}}?</p>
<p><button name="List-Unsubscribe" value="One-Click">Unsubscribe</button></p></form>
{{end}}</body></html>
`))
