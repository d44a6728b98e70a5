"""The learned prompts: bank, embedding, what is kept between calls, and their saved form."""
