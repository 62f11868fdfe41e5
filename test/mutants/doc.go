// Package mutants tests the tests: the broker is built with one line made wrong, and the test that guards this line must fail.
// A net that lets a mutant through proves nothing about the real thing.
//
// Each row of the table names a file, a text in it, what the text becomes, and the test that has to notice. The tree is never
// touched: go test -overlay builds with a changed copy. A row whose text is gone, or is there twice, fails as well: then the
// code has changed, and whether the row still means something is to be looked at.
package mutants
