// Package archtest holds the tests that keep the tree as the design has it.
package archtest
