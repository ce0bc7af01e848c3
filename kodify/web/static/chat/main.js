// The chat page: starts its parts and joins them.

import { startLooks } from "../base/looks.js";
import { showProblem } from "../base/problems.js";
import { requireSession } from "../base/session.js";

startLooks();
try {
  await requireSession();
} catch (error) {
  showProblem(error, () => location.reload());
}
