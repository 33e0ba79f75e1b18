// Package oracle says what the rules of a mesh predict that a load will see, before it runs.
//
// [Predict] follows a request from its caller through the routes, faults, retries, timeouts and policies of [rules], by an exact
// evaluation: the answer is a mixture of outcomes, each with a probability, a code, a shift of the latency, the version that
// answered, and the requests that others got on the way. What the applications do by themselves is not guessed; it is declared
// in the annotation [Annotation], as a [Behaviour].
//
// What cannot be told has a probability too, and a reason: the predictions that it touches are bounds, or are left out.
package oracle
