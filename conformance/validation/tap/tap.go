// Package tap writes the Test Anything Protocol, version 13, to standard output.
//
// It stands in for the package that runtime-tools imports as github.com/mndrix/tap-go, which Debian does not have: the
// same names, as far as runtime-tools uses them, written from the protocol's specification. Diagnostics are JSON, which
// is YAML too.
package tap

import (
	"encoding/json"
	"fmt"
	"strings"
)

// T is one stream of results. Todo makes another one that shares its count.
type T struct {
	count *int
	todo  bool
}

// New begins a stream.
func New() *T {
	return &T{count: new(int)}
}

// Header announces the version, and the plan if it is known by now.
func (t *T) Header(planned int) {
	fmt.Println("TAP version 13")
	if planned > 0 {
		fmt.Printf("1..%d\n", planned)
	}
}

// AutoPlan announces the plan afterwards: as many as there were.
func (t *T) AutoPlan() {
	fmt.Printf("1..%d\n", *t.count)
}

// Ok is a result.
func (t *T) Ok(passed bool, description string) {
	directive := ""
	if t.todo {
		directive = " # TODO"
	}
	t.result(passed, description, directive)
}

// Pass is a good result.
func (t *T) Pass(description string) {
	t.Ok(true, description)
}

// Fail is a bad result.
func (t *T) Fail(description string) {
	t.Ok(false, description)
}

// Skip is so many results that cannot be had here, and why.
func (t *T) Skip(count int, reason string) {
	for ; count > 0; count-- {
		t.result(true, "", " # SKIP "+reason)
	}
}

// Todo is a stream whose results are known not to be good yet.
func (t *T) Todo() *T {
	return &T{count: t.count, todo: true}
}

// Diagnostic is a remark about the results before it.
func (t *T) Diagnostic(message string) {
	fmt.Println("# " + strings.ReplaceAll(message, "\n", "\n# "))
}

// Diagnosticf is Diagnostic with a format.
func (t *T) Diagnosticf(format string, values ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, values...))
}

// YAML is data about the result before it, as an indented block.
func (t *T) YAML(data interface{}) error {
	text, err := json.MarshalIndent(data, "  ", "  ")
	if err == nil {
		fmt.Printf("  ---\n  %s\n  ...\n", text)
	}
	return err
}

func (t *T) result(passed bool, description, directive string) {
	*t.count++
	word := "ok"
	if !passed {
		word = "not ok"
	}
	if description != "" {
		// A result is one line, and a # would begin a directive.
		description = " - " + strings.NewReplacer("#", `\#`, "\n", " ").Replace(description)
	}
	fmt.Printf("%s %d%s%s\n", word, *t.count, description, directive)
}
