"""A site as a Django developer has it: settings for a real name behind a proxy that speaks HTTPS for it."""
