package api

import (
	"net/url"
	"strings"
	"testing"
)

func TestErase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.objects()
	recorded := w.our("POST", "/v1/permissions/transactions", strings.Replace(granted, "CRM-1", "CRM-9", 1)).want(201)
	citizen := recorded.text("citizenId")
	k := w.our("POST", "/v1/consents", strings.Replace(dataConsent, "citizen-1", citizen, 1)).want(201).text("id")
	event := w.our("GET", "/v1/events?subject="+citizen, "").want(200).items()[0]
	if _, has := event["erased"]; has || event["body"] == nil {
		t.Errorf("before: got %v, want a body", event)
	}
	one := "/v1/citizens/" + citizen

	// Errors first: they erase nobody.
	w.our("DELETE", one, `{"sure":true}`).want(400)
	w.our("DELETE", one+"?really=yes", "").want(400)
	w.our("DELETE", "/v1/citizens/ctz_none", "").want(404)
	w.call("DELETE", one, w.theirs.token, "").want(404)
	w.call("DELETE", one, "", "").want(401)
	w.our("GET", one, "").want(200)

	w.our("DELETE", one, "").want(202).wantBody(`{"citizenId":"ctz","erasedAt":"now"}`)
	for _, path := range []string{
		one, one + "/history", "/v1/permissions?citizenId=" + citizen, "/v1/permissions?externalRef=CRM-9", "/v1/consents/" + k,
		"/v1/permissions/transactions/" + recorded.text("transactionId"), "/v1/receipts/" + recorded.text("transactionId"),
	} {
		w.our("GET", path, "").want(404)
	}
	w.our("DELETE", one, "").want(404)
	w.our("PATCH", one, `{"language":"en"}`).want(404)
	w.our("POST", "/v1/permissions/transactions/"+recorded.text("transactionId")+"/revert", "").want(404)
	if got := w.our("POST", "/v1/citizens", `{"externalRef":"x","citizenId":"`+citizen+`"}`).want(409); got.text("code") != "citizen_erased" || got.faults() != "/citizenId citizen_erased" {
		t.Errorf("got %s, want citizen_erased", got.body)
	}
	if got := w.our("GET", "/v1/citizens?externalRef=CRM-9", "").want(200).items(); len(got) != 0 {
		t.Errorf("got %v, want nobody", got)
	}

	// What remains of its events is that they were.
	es := w.our("GET", "/v1/events?subject="+citizen, "").want(200).items()
	if len(es) != 3 || es[0]["eventId"] != event["eventId"] || es[0]["body"] != nil || es[0]["erased"] != true || es[1]["erased"] != true ||
		es[2]["type"] != "citizen.erased" || es[2]["erased"] != nil {
		t.Fatalf("got %v, want the state and the mail erased, and citizen.erased", es)
	}
	a := w.our("GET", "/v1/events/"+event["eventId"].(string), "").want(200)
	if !strings.HasSuffix(string(a.body), `"body":null,"erased":true}`) {
		t.Errorf("got %s, want no body", a.body)
	}
	if got := w.our("GET", "/v1/events?type=citizen.erased", "").want(200).items(); len(got) != 1 {
		t.Errorf("got %d events of that type, want 1", len(got))
	}
	ds := w.our("GET", "/v1/deliveries?subject="+citizen, "").want(200).items()
	if len(ds) != 3 || ds[0]["type"] != "citizen.erased" || ds[0]["status"] != "pending" || ds[1]["status"] != "cancelled" || ds[2]["status"] != "cancelled" {
		t.Fatalf("got %v, want the erasure waiting and what was before it cancelled", ds)
	}
	of := "/v1/deliveries/" + url.PathEscape(ds[2]["deliveryId"].(string))
	if got := w.our("GET", of, "").want(200); !strings.Contains(string(got.body), `"erased":true`) {
		t.Errorf("got %s, want that it is erased", got.body)
	}
	if got := w.our("POST", of+"/redeliver", "").want(409).text("code"); got != "event_erased" {
		t.Errorf("got the code %q, want event_erased", got)
	}
	if got := w.our("POST", "/v1/subscriptions/"+o.subscription+"/replay", `{"eventIds":["`+event["eventId"].(string)+`"]}`).want(400).faults(); !strings.HasPrefix(got, "/eventIds/0 ") {
		t.Errorf("got %q, want a fault at /eventIds/0", got)
	}
}

func TestAudit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.our("GET", "/v1/audit", "").want(200).wantBody(
		`{"applicationId":"app","checkedAt":"now","events":{"records":0,"earlier":0,"erased":0,"intact":true},"transactions":{"records":0,"earlier":0,"erased":0,"intact":true}}`)
	o := w.objects()
	w.our("POST", "/v1/permissions/transactions", granted).want(201)
	var before, after auditBody
	a := w.our("GET", "/v1/audit", "").want(200)
	a.into(&before)
	if !w.signed(a, "Consentwire-Audit-Signature") {
		t.Error("the signature proves nothing")
	}
	tampered := a
	tampered.body = []byte(strings.Replace(string(a.body), `"intact":true`, `"intact":null`, 1))
	if w.signed(tampered, "Consentwire-Audit-Signature") {
		t.Error("the signature proves another body")
	}
	w.our("DELETE", "/v1/citizens/"+o.citizen, "").want(202)
	w.our("GET", "/v1/audit", "").want(200).into(&after)
	b, c := before.Transactions, after.Transactions
	if b.Records == 0 || b.Erased != 0 || !b.Intact || len(b.Head) != 64 {
		t.Errorf("before: got %+v", b)
	}
	if c.Records != b.Records || c.Erased != c.Records || !c.Intact || c.Head != b.Head {
		t.Errorf("after: got %+v, want the same head, with all erased", c)
	}
	if e := after.Events; !e.Intact || e.Records <= before.Events.Records || e.Head == before.Events.Head || e.BrokenAt != "" {
		t.Errorf("after: got %+v, want a longer chain", e)
	}
	w.call("GET", "/v1/audit", operatorBearer, "").want(400)
	if got := w.call("GET", "/v1/audit?applicationId="+w.ours.application, operatorBearer, "").want(200); !w.signed(got, "Consentwire-Audit-Signature") {
		t.Error("the operator's is not signed")
	}
}
