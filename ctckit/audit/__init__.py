"""Before the first step: checks of corpora, model and schedule, and short trainings that ask one question each."""
