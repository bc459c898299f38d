"""Before any test module imports torch: nextone says how its idle threads wait."""

import nextone as nextone
