/**
 * The page after a sign-in by a provider. The cookie with the refresh token is there; what this browser has to know of it
 * is written here, and the page that was asked for is shown.
 */

import { BASE } from "../net/base.js";
import { ApiError, SignedOut } from "../net/http.js";
import { Session } from "../net/session.js";
import { t } from "../text/strings.js";
import { found } from "./element.js";

const error = found("#error", HTMLElement);

try {
  const session = new Session();
  const next = found("#done", HTMLElement).dataset.next ?? `${BASE}/`;
  await session.refresh();
  await session.admit(next);
  location.replace(next);
} catch (reason) {
  if (reason instanceof SignedOut) location.replace(`${BASE}/login?error=sso_failed`);
  else if (!(reason instanceof ApiError)) throw reason;
  else {
    error.textContent = t("signin.reload", { message: reason.message });
    error.hidden = false;
  }
}
