// The code is behind the #, so that it is in no request line, no log and no Referer.
"use strict";
const form = document.querySelector("form");
const told = document.querySelector("[role=status]");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const asked = { code: location.hash.slice(1), name: form.elements.name.value, password: form.elements.password.value };
  const answer = await fetch("/v1/setup", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(asked),
  }).catch(() => null);
  if (!answer) { told.textContent = "The daemon does not answer."; return; }
  const body = await answer.json();
  told.textContent = answer.ok ? `${body.name} is the admin now.` : `${body.detail}. ${body.hint ?? ""}`;
  if (answer.ok) { history.replaceState(null, "", location.pathname); form.querySelector("button").disabled = true; }
});
