// Package oracle says what the rules of a mesh predict that a load will see, before it runs.
package oracle
