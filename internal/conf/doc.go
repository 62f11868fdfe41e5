package conf

// This file prints a table of keys for people.

import (
	"fmt"
	"strings"
)

// Markdown is the reference page of a table: the keys that act by section, then those that are accepted only.
func (s Set) Markdown() string {
	var b strings.Builder
	section := ""
	for _, k := range s {
		if k.NoUse != "" {
			continue
		}
		if k.Section != section || b.Len() == 0 {
			section = k.Section
			fmt.Fprintf(&b, "\n### %s\n\n| key | default | unit | live | meaning |\n|---|---|---|---|---|\n", section)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", cell(k.title()), cell(k.Default), cell(k.Type), yes(k.Live), cell(k.Doc))
	}
	b.WriteString(s.markdownNoUse("Known, without effect", false))
	b.WriteString(s.markdownNoUse("Refused unless they have their default", true))
	return strings.TrimPrefix(b.String(), "\n")
}

func (s Set) markdownNoUse(title string, refused bool) string {
	var b strings.Builder
	for _, k := range s {
		if k.NoUse == "" || k.refused != refused {
			continue
		}
		if b.Len() == 0 {
			fmt.Fprintf(&b, "\n### %s\n\n| key | default | why |\n|---|---|---|\n", title)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", cell(k.title()), cell(k.Default), cell(k.NoUse))
	}
	return b.String()
}

func (k *Key) title() string {
	if len(k.Aliases) == 0 {
		return k.Name
	}
	return k.Name + " (also " + strings.Join(k.Aliases, ", ") + ")"
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}
