// The form that asks for the token. Browsers do not send a strict cookie with a link from another site, but do send it
// with requests of this page: a browser that has a session gets past this form at once.
"use strict";

const form = document.getElementById("form"), field = document.getElementById("token");
const problem = document.getElementById("problem");

// Without the query, which may hold a token; the folder stays, which may be a proxy's prefix.
const enter = () => location.replace(location.pathname);

async function login(token) {
  problem.textContent = "checking …";
  try {
    const response = await fetch("?" + new URLSearchParams({ token }), { cache: "no-store" });
    if (response.ok) { enter(); return; }
    problem.textContent = response.status === 401 ? "token missing or wrong" : (await response.text()).trim();
  } catch (error) {
    problem.textContent = "no connection to the program that serves this page";
  }
  field.select();
}

form.addEventListener("submit", (event) => { event.preventDefault(); login(field.value.trim()); });

async function begin() {
  const inLink = new URLSearchParams(location.search).has("token");
  if (!inLink && (await fetch("style.css")).ok) { enter(); return; }
  problem.textContent = inLink ? "token missing or wrong" : "";
  field.focus();
}
begin().catch(() => {});
