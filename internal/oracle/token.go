package oracle

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"squall/internal/rules"
)

// Token is the value of the header Authorization that stands for a token of which nothing is known but that there is one.
const Token = "Bearer"

// token says whether the request has a token that the proxy may take, and what is surely wrong with it. Signatures are not looked at.
func (e *evaluation) token(req rules.Request, policies []*rules.RequestAuthentication) (claims rules.Truth, bad string) {
	var issuers []string
	for _, p := range policies {
		for _, r := range p.Spec.GetJwtRules() {
			if len(r.GetFromHeaders())+len(r.GetFromParams())+len(r.GetFromCookies()) > 0 {
				return rules.Unknown, ""
			}
			issuers = append(issuers, r.GetIssuer())
		}
	}
	text := ""
	for name, value := range req.Headers {
		if strings.EqualFold(name, "authorization") {
			text = value
		}
	}
	if text == "" && strings.Contains(req.Path, "access_token=") {
		return rules.Unknown, ""
	}
	if text == Token {
		return rules.Unknown, ""
	}
	token, bearer := strings.CutPrefix(text, "Bearer ")
	if !bearer || len(issuers) == 0 {
		return rules.No, ""
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return rules.No, "is not a token of three parts"
	}
	var body struct {
		Issuer string `json:"iss"`
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(data, &body) != nil {
		return rules.No, "cannot be read"
	}
	if !slices.Contains(issuers, body.Issuer) {
		return rules.No, "is from " + body.Issuer + ", which no rule names"
	}
	return rules.Unknown, ""
}
