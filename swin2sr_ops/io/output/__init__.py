"""How an output grows, resumes and appears."""
